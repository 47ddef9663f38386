"""Linear systems given by their products alone, A x = b: conjugate residuals.

Each step multiplies once, and takes the best x in the span of the directions so far (Eisenstat, Elman & Schultz
1983, sec. 3: GCR, of which Orthomin keeps the last directions; for a symmetric A both are conjugate residuals).
For a symmetric A the residuals are A-conjugate: as soon as r^T A r is not positive, A is not positive definite; and as
long as it is, up to the end, A is that on every vector that took part (Sylvester's law of inertia). An A = S + K with
an antisymmetric part K has an eigenvalue with negative real part if r^T A r < -|K| |r|^2 (Bauer & Fike 1960, of S).
"""

import jax
import jax.numpy as jnp

from jgmm._base.pytree import pytree
from jgmm._base.types import where
from jgmm._covariance.factor import matmul

MEMORY = 32  # directions kept; for a symmetric A two would do, but for rounding
MOST_STEPS = 1000


def _dot(a, b):
    return matmul(a, b)


@pytree
class _Search:
    x: jax.Array
    residual: jax.Array
    directions: jax.Array  # (memory, q), zeros where there is none
    images: jax.Array  # (memory, q) their products with A, orthonormal
    definite: jax.Array
    num_steps: jax.Array


def _skewness(matvec, b):
    """At most so long, but for chance, is the antisymmetric part K of A: twice |K v| of a random v (m. sq. |K|_F)."""
    v = jax.random.normal(jax.random.key(1), b.shape, b.dtype)
    (transposed,) = jax.linear_transpose(matvec, v)(v)
    return jnp.linalg.norm(matvec(v) - transposed)


def _conjugate_residuals(matvec, b):
    """x, or NaN: see `solve`."""
    eps = jnp.finfo(b.dtype).eps
    size = jnp.linalg.norm(b)
    skew = _skewness(matvec, b)
    goal = eps**0.75 * size

    def searching(search):
        return (jnp.linalg.norm(search.residual) > goal) & search.definite & (search.num_steps < MOST_STEPS)

    def step(search):
        r, direction = search.residual, search.residual
        image = matvec(direction)
        definite = _dot(r, image) > -skew * _dot(r, r)
        for _ in range(2):  # once leaves what rounding makes of it
            overlap = _dot(search.images, image)
            image = image - _dot(overlap, search.images)
            direction = direction - _dot(overlap, search.directions)
        length = jnp.linalg.norm(image)
        scale = where(length > 0, 1 / length, 0)
        image, direction = scale * image, scale * direction
        amount, slot = _dot(image, r), search.num_steps % len(search.images)
        return _Search(
            search.x + amount * direction,
            r - amount * image,
            search.directions.at[slot].set(direction),
            search.images.at[slot].set(image),
            definite,
            search.num_steps + 1,
        )

    none = jnp.zeros((min(MEMORY, b.size), b.size), b.dtype)
    start = _Search(jnp.zeros_like(b), b, none, none, jnp.ones((), bool), jnp.zeros((), jnp.int32))
    end = jax.lax.while_loop(searching, step, start)
    solved = (jnp.linalg.norm(end.residual) <= goal) & end.definite
    solved &= jnp.linalg.norm(end.x) <= size / eps**0.5  # beyond, A cannot be told from a singular one
    return where(solved, end.x, jnp.nan)


def solve(matvec, b):
    """x (q,) with ``matvec(x) = b``, differentiable and transposable.

    NaN where there is no such x for certain: A is singular as far as rounding lets one see, not positive definite
    on the residuals met, or so ill-conditioned that `MOST_STEPS` do not suffice.
    """
    return jax.lax.custom_linear_solve(matvec, b, _conjugate_residuals, _conjugate_residuals)
