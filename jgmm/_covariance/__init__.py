"""What a covariance is: the families, their forms, and the factors that densities are made of.

    forms       which moments a family learns from, and how the kernels make them: where the speed is
    family      `Covariance`: what a family must give, and all that follows from it
    full        `Full` and `Tied`: matrices
    diagonal    `Diag` and `Spherical`: variances
    factor      square roots of covariances: whitening, determinants, precisions
    families    the table of names

To add a family, here or in a package of your own, derive a frozen pytree from `Covariance`:

    form            that of a family here: `Full.form`, `Tied.form`, `Diag.form`, `Spherical.form`
    estimate        the M-step: from scatter, weight and ridge to the covariances
    factor          their square roots, those of `Full(...)` or `Diag(...)` of the same covariances
    dense           the matrices (k, d, d)
    num_parameters  how many numbers are free

Own methods for the rest where they are faster (`values`, `coordinates`) or stay in the family (`marginal`,
`transformed`). No other room needs to know; one that has a name gets its line in `families.FAMILIES`.
A form is more: a shape of scatter that `Stats` adds up, and a kernel. Forms lie here, for families name theirs.
"""
