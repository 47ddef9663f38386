"""What a covariance is: the families, and the factors that densities are made of.

    family      what the library asks of a family, and the check of its shapes
    full        `Full` and `Tied`: matrices
    diagonal    `Diag` and `Spherical`: variances
    factor      square roots of covariances: whitening, determinants, precisions
    families    the table of names

To add a family, write its class beside its like and its line in `families.FAMILIES`; no other room needs to know.
"""
