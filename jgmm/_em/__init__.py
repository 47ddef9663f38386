"""The M-step, and the one loop.

    steps        one E-step, one M-step
    iteration    what happens in each round of the loop, but for the E-step
    loop         `em`: from a start to a fixed point, the only convergence loop
    stop         when it has arrived
    components   what became of the components, told at the end
    accelerate   fewer sweeps to the same optimum
    metric       lengths of changes of a mixture
    implicit     the derivative of a fit, from its end alone
    krylov       the linear systems that this needs
    result       what a fit returns
    adapt        a mixture moved towards few rows: an M-step with a prior

A stop rule or an accelerator is one new class beside its like; the loop does not change for it.
"""
