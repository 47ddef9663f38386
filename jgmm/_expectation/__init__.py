"""The E-step: rows in, `Stats` out. This is where the speed is.

    stats     the weighted moments that everything learns from
    kernels   the two ways to compute them, and the bound that chooses
    moments   those of all rows: what scales are measured by
    ridge     what keeps covariances positive definite

A kind of rows is a function that makes `Stats` of a chunk; chunks, devices and weights come from `_base`.
"""
