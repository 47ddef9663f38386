"""The covariance families: what a covariance structure is, and all that the library asks of one.

A family is a small pytree (`Full`, `Tied`, `Diag`, `Spherical`) with the same methods in the same
order. Its type sits in the pytree structure, so ``jit`` specialises on it and no code elsewhere asks
"which family is this?". A new family is a new class here and one line in `FAMILIES`.

The *scatter* that a family learns from keeps its dimensions (as ``keepdims`` does), so that each
form says by its shape what it is and a richer form can be reduced to a poorer one:

    full (k, d, d)  ->  tied (1, d, d)  |  diag (k, d)  ->  spherical (k, 1)

As an exponential family, log N(x | mu_k, Sigma_k) = eta_k . T(z) + constant, z = x - c:
`features` are the T that the family needs, in blocks (q, m), `natural` makes eta but for its constant, `moments` reads
sums (k, q) of r_nk T(z_n). `rows_last` says whether the blocks lie in memory so, or are a transposed view of rows that
stay as they are: products take either, and a copy would cost as much as a product.
"""

from jgmm._covariance.diagonal import Diag, Spherical
from jgmm._covariance.full import Full, Tied

Covariance = Full | Tied | Diag | Spherical

FAMILIES = {"full": Full, "tied": Tied, "diag": Diag, "spherical": Spherical}
