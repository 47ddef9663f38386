"""Which model: how many components, and what covariance. `jgmm.select` has it for users.

    table      a grid of fits as columns, the best of them, text and picture
    grid       `sweep`: the fits of a grid, one compiled program a family
    bootstrap  `bootstrap_test`: k components against k + 1
    progress   how far it is, on stderr

What is chosen from is columns of numbers by name: another criterion is one more column, and a line in
``table.CRITERIA``. No criterion is computed by a loop of its own.
"""
