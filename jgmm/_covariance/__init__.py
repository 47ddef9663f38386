"""What a covariance is: the families, their forms, and the factors that densities are made of.

    forms           which moments a family learns from, and how the kernels make them: where the speed is
    family          `Covariance`: what a family must give, and all that follows from it
    full            `Full` and `Tied`: matrices
    diagonal        `Diag` and `Spherical`: variances
    eigen_diagonal  `EII` `EEI` `VEI` `EVI`: variances that components share in part
    eigen           `VEE` `EVV` `EVE` `VVE` `EEV` `VEV`: matrices that components share in part
    volumes         covariances in proportion: their volumes by Newton's method
    lowrank         `LowRank`: a few factors and noise, a class for each number of factors
    wide            `lowrank(q, wide=True)`: the same for many features, without matrices
    projection      what that needs of the rows
    woodbury        square roots of its covariances
    loadings        the factors and noise nearest to a covariance: maximum likelihood factor analysis
    axes            the axes of matrices, own or shared: common principal components
    factor          square roots of covariances: whitening, determinants, precisions
    families        the table of names

A family, here or in a package of your own, is a frozen pytree derived from `Covariance` (`EEI` is a short one) with
    form            that of a family here: `Full.form`, `Tied.form`, `Diag.form`, `Spherical.form`
    estimate        the M-step: from scatter, weight and ridge; `component_covariances` minds absent components
    factor, dense   square roots, those of `Full(...)` or `Diag(...)` of the same covariances, and matrices (k, d, d)
    num_parameters  how many numbers are free
and `update` where it iterates; others for speed or to stay in the family. Numbers next to a member's must be one: leaps
add to them. Its name is a line of `families.FAMILIES` and tests/helpers.py. A form is a scatter that adds, and kernels.
"""
