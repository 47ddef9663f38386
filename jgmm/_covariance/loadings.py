"""The covariance W W^T + diag(psi) nearest to a given one: maximum likelihood factor analysis.

Of a covariance C of rows (d, d), W of q columns and psi minimise, twice the negative log-likelihood a row,

    f = log det Sigma + tr(Sigma^-1 C),    Sigma = W W^T + diag(psi)

With l_j, the eigenvalues of psi^-1/2 C psi^-1/2 in descending order, and u_j, its eigenvectors, the best W is

    W = psi^1/2 [u_j (l_j - 1)^1/2],    j <= q with l_j > 1                                     (Joreskog 1967)

The same noise of all features is the mean of the d - q smallest eigenvalues of C (Tipping & Bishop 1999, eq. 8).
Otherwise it is found by Newton's method in log psi; where f would rise, by a step of EM in its place, which cannot let
it rise (Rubin & Thayer 1982): psi = diag(C - W W^T), which from the best W is the whole M-step.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import varying_as
from jgmm._base.types import where
from jgmm._covariance.factor import TriangularFactor, diagonal, matmul

MOST_STEPS = 100  # five to twenty are usual; more where features end without noise, for very little
MOST_STEPS_ON = 5  # from the last noise: EM goes on, and two are enough where it has nearly ended
LONGEST = 2.0  # of a Newton step, in the logarithm of a variance


def least_noise(cov: jax.Array) -> jax.Array:
    """The least noise (d,): below the root of rounding, as a share of a variance, loadings lose their digits.

    Without a bound a feature may end without any noise, as one of the factors (a Heywood case).
    """
    return jnp.finfo(cov.dtype).eps ** 0.5 * diagonal(cov)


def loadings_and_noise(
    cov: jax.Array, num_factors: int, shared: bool, old: tuple[jax.Array, jax.Array] | None = None
) -> tuple[jax.Array, jax.Array]:
    """W (d, q) and psi, (d,) or, if ``shared``, (1,), of highest likelihood; differentiable by ``cov`` (d, d).

    Args:
        cov: (d, d) C, symmetric.
        num_factors: q, less than d.
        shared: whether all features have the same noise.
        old: the last W and psi, from which the likelihood cannot fall. W is turned to be near the old one.
    """
    constant = jax.lax.stop_gradient(cov)
    least = jnp.full((1,), jnp.finfo(cov.dtype).tiny, cov.dtype) if shared else least_noise(constant)

    def solve(*_):
        if shared:
            loadings, noise = _principal(constant, num_factors, least)
        else:
            start, most = _first_noise(constant, num_factors, least, old), MOST_STEPS if old is None else MOST_STEPS_ON
            loadings, noise = _minimise(start, least, constant, num_factors, most)
        if old is not None:
            loadings = matmul(loadings, _turn(loadings, old[0]))
        return _numbers(loadings, noise)

    def slope(numbers):
        free = jax.lax.stop_gradient(numbers[1] > jnp.log(least))
        return jax.grad(lambda numbers: _value(numbers, cov, free))(numbers)

    def tangent(linear, y):
        return jax.lax.custom_linear_solve(linear, y, _descend, symmetric=True)

    start = jnp.zeros((len(cov), num_factors), cov.dtype), jnp.zeros_like(least)
    scaled, log_noise = jax.lax.custom_root(slope, start, solve, tangent)
    noise = jnp.exp(log_noise)
    return jnp.sqrt(noise)[:, None] * scaled, noise


def _descend(linear, y):
    """The x with linear(x) = y, by conjugate gradients."""
    return jax.scipy.sparse.linalg.cg(linear, y, tol=float(jnp.finfo(y[0].dtype).eps))[0]


def _numbers(loadings, noise):
    """psi^-1/2 W and log psi: numbers without units or conditions."""
    return loadings / jnp.sqrt(noise)[:, None], jnp.log(noise)


def _value(numbers, cov, free):
    """f of the `_numbers`, where noise that is not ``free`` is held, and so are turns of the factors, which change
    nothing: a term that is zero holds them."""
    scaled, log_noise = numbers
    here, held = jax.lax.stop_gradient(numbers)
    turn = matmul(here.T, scaled)
    pull = (where(free, 0, (log_noise - held) ** 2).sum() + ((turn - turn.T) ** 2).sum()) / 2
    log_noise = where(free, log_noise, held)
    root = jnp.exp(-log_noise / 2)
    cov = root[:, None] * cov * root[None]
    middle = matmul(scaled.T, scaled) + np.eye(scaled.shape[1], dtype=scaled.dtype)
    factor = TriangularFactor.of(middle[None])
    explained = matmul(factor.inverse[0], scaled.T)
    trace = diagonal(cov).sum() - (matmul(explained, cov) * explained).sum()
    log_noise = jnp.broadcast_to(log_noise, diagonal(cov).shape)
    return log_noise.sum() + 2 * factor.half_log_det(len(middle))[0] + trace + pull


def _principal(cov, num_factors, least):
    """W and the noise (1,) that all features share: principal components."""
    values, vectors = jnp.linalg.eigh(cov, symmetrize_input=False)
    noise = jnp.maximum(values[:-num_factors].mean(keepdims=True), least)
    return vectors[:, -num_factors:] * jnp.sqrt(jnp.maximum(values[-num_factors:] - noise, 0))[None], noise


def _first_noise(cov, num_factors, least, old):
    """The noise (d,) to begin with: the last one; or that of equal shares in all features' variances."""
    if old is not None:
        return jnp.maximum(old[1], least)
    variances = diagonal(cov)
    std = jnp.sqrt(where(variances > 0, variances, 1))
    share = jnp.linalg.eigvalsh(cov / (std[:, None] * std[None]))[:-num_factors].mean()
    return jnp.maximum(share * variances, least)


def _spectrum(noise, cov, num_factors):
    """Eigenvalues and vectors (d,) (d, d) of psi^-1/2 C psi^-1/2, ascending; the best W (d, q) for this noise; and
    which eigenvectors are not in it (d,)."""
    root = jnp.broadcast_to(jnp.sqrt(noise), diagonal(cov).shape)
    values, vectors = jnp.linalg.eigh(cov / (root[:, None] * root[None]), symmetrize_input=False)
    large = jnp.arange(len(cov)) >= len(cov) - num_factors
    gain = jnp.sqrt(jnp.maximum(values - 1, 0))[-num_factors:]
    loadings = root[:, None] * vectors[:, -num_factors:] * gain[None]
    return (values, vectors), loadings, where(large & (values > 1), 0, 1)


def _minimise(noise, least, cov, num_factors, most_steps):
    """W and psi of the least f, from a start of psi (d,): until little is to be gained, or the steps are spent."""
    d, eps = len(cov), jnp.finfo(cov.dtype).eps
    enough = d * eps**0.75  # to be gained by one more step, of which Newton's leaves the square

    def look(log_noise):
        """f, W, Newton's step and that of EM, and how much f would fall by the first."""
        (values, vectors), loadings, rest = _spectrum(jnp.exp(log_noise), cov, num_factors)
        rest = rest.astype(cov.dtype)
        value = log_noise.sum() + where(rest > 0, values, jnp.log(jnp.maximum(values, 1)) + 1).sum()
        slope = matmul(vectors**2, rest * (1 - values))
        newton = -jnp.linalg.solve(_curvature(values, vectors, rest, num_factors), slope)
        fall = -matmul(newton, slope)
        newton = where(fall > 0, jnp.clip(newton, -LONGEST, LONGEST), -slope)
        em = jnp.log1p(jnp.maximum(-slope, eps - 1))
        held = log_noise + em <= jnp.log(least)  # by the bound: to them there is nothing to gain
        gain = where(held & (log_noise <= jnp.log(least)), 0, jnp.abs(slope * newton)).sum()
        return value, loadings, newton, em, gain

    def step(state):
        log_noise, value, loadings, em, tried, left, second, _, count = state
        new, new_loadings, newton, new_em, gain = look(tried)
        margin = 8 * eps * (d + jnp.abs(new))
        better = (count == 0) | (new <= value + where(second, 0, margin))
        log_noise, loadings, em = (
            where(better, a, b) for a, b in ((tried, log_noise), (new_loadings, loadings), (new_em, em))
        )
        moving = where(better, left > enough, ~second)
        tried = jnp.maximum(log_noise + where(better, newton, em), jnp.log(least))
        left = where(better, gain, jnp.inf)
        end = log_noise, where(better, new, value), loadings, em, tried, left, ~better, moving, count + 1
        return varying_as(end, state)

    def goes_on(state):
        *_, moving, count = state
        return moving & (count < most_steps)

    start, none, endless = jnp.log(noise), jnp.zeros((d, num_factors), cov.dtype), jnp.full((), jnp.inf, cov.dtype)
    no, yes = jnp.zeros((), bool), jnp.ones((), bool)
    first = start, endless, none, start, start, endless, no, yes, jnp.zeros((), jnp.int32)
    log_noise, _, loadings, *_ = jax.lax.while_loop(goes_on, step, varying_as(first, cov, noise))
    return loadings, jnp.exp(log_noise)


def _curvature(values, vectors, rest, num_factors):
    """The second derivatives of f by log psi (d, d) (Clarke 1970), with a little on the diagonal."""
    outside = vectors * rest[None]
    square = matmul(outside, vectors.T) * matmul(outside * values[None], vectors.T)
    kept = vectors[:, -num_factors:] * (1 - rest[-num_factors:])[None]
    top = values[-num_factors:]
    gap = where(rest[:, None] > 0, jnp.abs(top[None] - values[:, None]), 1)
    weight = rest[:, None] * (1 - values[:, None]) * (top[None] + values[:, None])
    weight = weight / jnp.maximum(gap, jnp.finfo(values.dtype).eps ** 0.5)
    joint = jnp.einsum("ij,mj,jn->nim", vectors, vectors, weight, precision=jax.lax.Precision.HIGHEST)
    mixed = (kept.T[:, :, None] * kept.T[:, None] * joint).sum(0)
    return square + mixed + jnp.finfo(values.dtype).eps ** 0.5 * np.eye(len(values), dtype=values.dtype)


def _turn(loadings, old):
    """The rotation (q, q) that brings the loadings nearest to the old ones: the orthogonal factor of W^T W_old.

    By Newton and Schulz's iteration (Higham 2008, chapter 8); the unit matrix where W^T W_old is nearly singular, for
    only a rotation leaves the covariance as it is.
    """
    unit = np.eye(old.shape[1], dtype=old.dtype)
    product = matmul(loadings.T, old)
    size = jnp.sqrt((product**2).sum())
    turn = product / where(size > 0, size, 1)

    def step(_, turn):
        return matmul(turn, 1.5 * unit - matmul(turn.T, turn) / 2)

    turn = jax.lax.fori_loop(0, 40, step, turn)
    error = jnp.abs(matmul(turn.T, turn) - unit).max()
    return where(error < 100 * jnp.finfo(old.dtype).eps, turn, unit)
