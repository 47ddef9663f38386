"""The statistics of a chunk of rows: one definition, two kernels.

`whitened` subtracts each component's mean from every row before it multiplies: safe always. `products`
takes the mixture as the exponential family that it is,

    log N(x | mu_k, Sigma_k) = eta_k . T(x),    sum_n r_nk T(x_n)

with T(x) the products of the features of x - c about one centre c for all components: two matrix
products and no (m, k, d) array, four to ten times faster. It loses digits where a component lies many
of its standard deviations from c. `cancellation` bounds that loss, `affordable` decides.

Rows lie along the last axis: elementwise work is then long contiguous loops.
"""

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jgmm._base.rows import at_most, chunk_rows, sum_rows, whole_chunk
from jgmm._base.sweep import WHOLE
from jgmm._base.types import where
from jgmm._covariance.factor import Factor, matmul
from jgmm._expectation.stats import Stats, collect
from jgmm._mixture.gmm import GMM, log_components, log_normaliser, mix, residuals

# Of one chunk. Up to some 50,000 products of pairs XLA leaves them to one core; of more both pay off if they stay in
# the cache, in 8.5 MB: 1.2 to 1.4 times faster than 20 MB in float64. Between 50,000 and a million it is slower, by up
# to 1.7 times. Measured over (n, d, k) from (131072, 2, 3) to (16384, 128, 16).
ONE_CORE_PRODUCTS = 3 * 2**14
PRODUCT_BYTES = 17 * 2**19
BOTH_CORES_PAIRS = 3000  # products of pairs times components of one row, from which they pay off
BOTH_CORES = 400  # the same of features

SMALL = 2**14  # n k d up to which the whitened kernel alone serves: there is no time to gain, and half of it to compile

ROUNDINGS = 16  # of a log density, which is about one nat a feature: a loss that is small beside it


def whitened(params, factor, X, sample_weight, sweep=WHOLE) -> Stats:
    """The statistics about the means, from residuals to each."""
    form = params.cov.collects(factor)

    def rows(X, weight):
        # Rows of weight zero are absent, whatever they hold: 0 * NaN would be NaN.
        X = where(weight[:, None] > 0, X, params.means[0])
        diff = residuals(params, X)
        log_prob, resp = mix(params.weights, log_components(params, factor, diff))
        return collect(form, diff, params.means, resp, log_prob, weight)

    chunk = sweep.chunk_size or chunk_rows(sweep.lanes * params.num_components, params.num_features)
    sums = sweep.total(sum_rows(rows, X, sample_weight, chunk))
    return Stats(params.means, sums.weight, sums.shift, form.whole(sums.scatter), sums.total, sums.log_prob)


def product_rows(form, num_products: int, num_components: int, dtype) -> int:
    """Rows of a chunk of the product kernel, for `num_components` of all mixtures run side by side."""
    width = num_products + 4 * num_components
    if jax.default_backend() != "cpu":
        return chunk_rows(1, width)
    rows = PRODUCT_BYTES // (jnp.dtype(dtype).itemsize * width)
    pairs = form.rows_last
    if num_products * num_components > (BOTH_CORES_PAIRS if pairs else BOTH_CORES):
        return whole_chunk(rows, most=4096)
    return whole_chunk(ONE_CORE_PRODUCTS // num_products if pairs else rows, most=2048)


def products(params, factor, frame, X, sample_weight, sweep=WHOLE) -> Stats:
    """The statistics about the means, from those about the centre of the ``frame``."""
    form, (k, d) = params.cov.collects(factor), params.means.shape
    center, offset = frame.center[0], params.means - frame.center
    precision = factor.precision()
    linear = factor.times(precision, offset)
    coefficients = form.natural(precision, linear)
    constant = -(linear * offset).sum(-1) / 2 - log_normaliser(factor, d)

    def rows(X, weight):
        features = form.features(where(weight[:, None] > 0, X, center[None]) - center[None])
        terms = [matmul(eta, T) for eta, T in zip(coefficients, features, strict=True)]
        log_prob, resp = mix(params.weights, form.log_terms(terms) + constant[:, None])
        resp = resp * weight[None]
        pairs = zip(form.shares(resp, terms), features, strict=True)
        sums = [matmul(T, share.T) if form.rows_last else matmul(share, T.T) for share, T in pairs]
        return sums, matmul(resp, jnp.ones_like(weight)), weight.sum(), (weight * log_prob).sum()

    numbers = sum(eta.shape[-1] for eta in coefficients), sweep.lanes * len(coefficients[-1])
    chunk = sweep.chunk_size or product_rows(form, *numbers, X.dtype)
    sums, weight, total, log_prob = sweep.total(sum_rows(rows, X, sample_weight, chunk))
    if form.rows_last:  # not chunk by chunk: XLA would turn the products around, up to 1.6 times as slow
        sums = [x.T for x in sums]
    scatter, shift = form.moments(sums, frame.scatter)
    log_prob = log_prob + form.common_log_prob(precision, frame.scatter)
    about = jnp.broadcast_to(center, (k, d))
    return Stats(about, weight, shift, scatter, total, log_prob).recenter(params.means)


def cancellation(params: GMM, factor: Factor, frame: Stats) -> jax.Array:
    """By how much the terms of eta_k . T(x) exceed their sum near component k, at most (() number).

        max_k  sum_ij |P_kij| (sigma_ki sigma_kj + |delta_ki| |delta_kj|),   P = Sigma^-1, delta = mu - c

    The product kernel then loses about ``eps * cancellation`` in each log density (nats), and up to four
    times that in a covariance, relative to it (Higham 2002, sec. 3.1: the error of an inner product).
    """
    precision, std = factor.precision(), jnp.sqrt(params.cov.variances(*params.means.shape))
    terms = factor.magnitude(precision, std) + factor.magnitude(precision, params.means - frame.center)
    return where(params.weights > 0, terms, 0).max()


def tolerated_loss(dtype, num_features: int = 1) -> float:
    """The loss that the product kernel may cause: eps^(2/3) in float64 (4e-11), sqrt(eps) in float32 (3e-4).

    Of many features at least that of some roundings of a log density, of about d nats: whitening loses two itself.
    """
    eps = float(jnp.finfo(dtype).eps)
    return max(eps ** (2 / 3) if dtype == jnp.float64 else eps**0.5, ROUNDINGS * num_features * eps)


@custom_vmap
def everywhere(decision):
    """``decision`` () if outside ``vmap``; under it whether all the batch decide so: one number, not a batch.

    A ``lax.cond`` on a batch of decisions would run both branches for everyone.
    """
    return decision


@everywhere.def_vmap
def _(size, batched, decision):
    return everywhere(decision.all()), False


def affordable(params, factor, frame):
    """Whether the product kernel loses no more than `tolerated_loss`, in every mixture of a batch."""
    params, factor, frame = jax.lax.stop_gradient((params, factor, frame))
    loss = jnp.finfo(frame.center.dtype).eps * cancellation(params, factor, frame)
    return everywhere(loss <= tolerated_loss(loss.dtype, params.num_features))  # NaN is not affordable


def is_small(params, X):
    """Whether the whitened kernel alone serves, which needs no `frame_of` the rows."""
    return at_most(X.shape[0] * params.means.size, SMALL)


def expectation(params, factor, frame, X, sample_weight, sweep=WHOLE) -> Stats:
    """The E-step, given the factors of the covariances and the `Stats` of all rows (`frame_of`)."""
    if is_small(params, X):
        return whitened(params, factor, X, sample_weight, sweep)
    return jax.lax.cond(
        affordable(params, factor, frame),
        lambda: products(params, factor, frame, X, sample_weight, sweep),
        lambda: whitened(params, factor, X, sample_weight, sweep),
    )
