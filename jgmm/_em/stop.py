"""When EM has arrived: `LogProbStop` (nothing left to gain) and `ParamStop` (nothing moves).

A rule is a pytree of traced numbers with two methods, ``init`` and ``update``. It sees one EM step from
where the fit stands (`Step`) and answers whether to stop there, with a number that shrinks as the end
comes near. `Watch` sees that number as well and tells when rounding has stopped it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_array, is_concrete
from jgmm._base.pytree import public, pytree
from jgmm._base.types import where
from jgmm._mixture.gmm import GMM


@pytree
class Step:
    """What a rule is asked about: one step of EM.

    Args:
        old: the mixture before it.
        factor: the factor of its covariances.
        new: the mixture after it.
        gain: () what the step gains per row, nats, to second order in the change: half its squared length in the
            metric of the complete data's information (`metric.Chart`). Dempster, Laird & Rubin 1977, eq. 3.8: the gain
            of EM is at least that, and near a fixed point at most twice. Unlike the difference of two
            log-likelihoods it is formed from small changes, so that float32 resolves it down to about 1e-13 where
            the difference ends at 1e-7 times the log-likelihood.
        rate: () EM's slowest rate, if successive steps are not EM's own; inf while it is not known; or None.
        rise: () by how much the mean log-likelihood of ``old`` is higher than the one accepted before it, nats; NaN
            where there is none before or ``old`` is refused; or None.
    """

    old: GMM
    factor: object
    new: GMM
    gain: jax.Array
    rate: jax.Array | None = None
    rise: jax.Array | None = None


@pytree
@public
class LogProbStop:
    """Stop when the mean log-likelihood has less than ``tol`` left to gain.

    The gain q_t of each step (`Step`) is extrapolated geometrically, as Aitken's rule does
    (Boehning et al. 1994, sec. 3): with the ratio a = q_t / q_{t-1}, the larger of the last two, what
    is left is 2 q_t / (1 - a). So ``tol`` bounds the distance to the optimum and not the size of one
    step, however slow EM is; and near a saddle, where gains are small but *grow* (a >= 1), EM goes on.
    Two ratios, because on the way to a saddle the gain falls steeply once before it begins to grow. Under
    acceleration a is the square of EM's slowest rate that the accelerator saw of late. In float32 a start within about
    0.05 standard deviations of a saddle cannot be told from the saddle.

    Args:
        tol: nats per row, nonnegative.

    Example:
        >>> import jgmm
        >>> jgmm.LogProbStop(1e-6)
        LogProbStop(tol=1e-06)
    """

    tol: float | jax.Array = 1e-8

    def init(self, params):
        """The state before the first step: the last gain, unknown, and the last ratio, unknown."""
        return jnp.full((2,), jnp.inf, params.means.dtype)

    def update(self, state, step):
        """(state, stop?, the gain), for a `Step`."""
        gain, rate = step.gain, step.rate
        last_gain, last_ratio = state
        ratio = where(jnp.isinf(last_gain), jnp.inf, gain / where(last_gain > 0, last_gain, 1))
        if rate is not None:  # inf: the accelerator has not interfered yet
            ratio = where(jnp.isinf(rate), ratio, jnp.maximum(rate, 0) ** 2)
        slowest = jnp.maximum(ratio, last_ratio)
        # Rounding hides a ratio nearer to 1 than this, and a fit that rounding holds in a cycle has 1.
        falling = jnp.maximum(1 - slowest, jnp.sqrt(jnp.finfo(gain.dtype).eps))
        left = where(jnp.isinf(slowest), jnp.inf, 2 * gain / falling)
        return jnp.stack([gain, ratio]), left <= self.tol, gain


@pytree
@public
class ParamStop:
    """Stop when no parameter changes by more than ``atol + rtol * scale`` in one step.

    The scale of a parameter is the size that matters for it, so that the rule does not depend on
    units or on where the origin lies: pi_k for a weight, sigma_kj for a mean, sigma_ki sigma_kj for a
    covariance, with sigma_kj the component's standard deviation along feature j.

    Args:
        rtol: relative bound, nonnegative.
        atol: absolute bound, in each parameter's own units, nonnegative.

    Example:
        >>> import jgmm
        >>> jgmm.ParamStop(rtol=1e-4)
        ParamStop(rtol=0.0001, atol=0.0)
    """

    rtol: float | jax.Array = 1e-5
    atol: float | jax.Array = 0.0

    def init(self, params):
        """No state."""
        return ()

    def update(self, state, step):
        """(state, stop?, the largest change), for a `Step`."""
        old, (k, d) = step.old, step.old.means.shape
        scale = old.weights, jnp.sqrt(old.cov.variances(k, d)), old.cov.form.scale(old.cov.values(k, d))
        old, new = ((params.weights, params.means, params.cov.values(k, d)) for params in (old, step.new))
        change = jax.tree.map(lambda a, b: jnp.abs(b - a), old, new)
        inside = jax.tree.map(lambda c, s: jnp.all(c <= self.atol + self.rtol * s), change, scale)
        largest = jax.tree.map(lambda c, s: jnp.max(c / where(s > 0, s, 1)), change, scale)
        return state, jnp.stack(jax.tree.leaves(inside)).all(), jnp.stack(jax.tree.leaves(largest)).max()


@pytree
@public
class GradientStop:
    """Stop when the gradient of the mean log-likelihood is no longer than ``tol``.

    Its length is taken in the metric of the complete data's information I_c, so that it depends neither on units nor
    on coordinates: |g|^2 = g^T I_c^-1 g, which is twice the gain of EM's own step, I_c^-1 g (Lange 1995,
    eq. 2). At the optimum the mean log-likelihood lies about |g|^2 / (2 (1 - a)) higher, with a EM's rate there.

    Args:
        tol: square root of nats per row, nonnegative. Rounding holds the length at about 1e-15 (float64), 1e-7
            (float32).

    Example:
        >>> import jgmm
        >>> jgmm.GradientStop(1e-8)
        GradientStop(tol=1e-08)
    """

    tol: float | jax.Array = 1e-6

    def init(self, params):
        """No state."""
        return ()

    def update(self, state, step):
        """(state, stop?, the gradient's length), for a `Step`."""
        length = jnp.sqrt(2 * step.gain)
        return state, length <= self.tol, length


def as_rule(stop, dtype):
    """The stop rule with its numbers as arrays, so that a new tolerance does not recompile."""
    if isinstance(stop, type) or not (hasattr(stop, "init") and hasattr(stop, "update")):
        raise TypeError(f"stop must be a stop rule such as jgmm.LogProbStop(tol=1e-8), got {stop!r}.")

    def bound(value):
        number = as_array("A bound of a stop rule", value)
        if number.ndim:
            raise ValueError(f"A bound of a stop rule must be one number, got {stop!r}. Use jax.vmap over several.")
        if is_concrete(value) and not np.asarray(value) >= 0:
            raise ValueError(f"The bounds of a stop rule must not be negative, got {stop!r}.")
        return number.astype(dtype)

    # To JAX None is no leaf and a list many: here each is one bad bound.
    return jax.tree.map(bound, stop, is_leaf=lambda x: x is None or isinstance(x, (list, tuple)))


def rounding(log_prob: jax.Array) -> jax.Array:
    """What a mean log-likelihood may fall by rounding alone."""
    return 4 * jnp.finfo(log_prob.dtype).eps * jnp.maximum(1, jnp.abs(log_prob))


@pytree
class Watch:
    """Tells that rounding has stopped a fit: nothing has happened in ``patience`` steps.

    What counts as happening: the log-likelihood rises by more than its own rounding, or the rule's
    number is smaller than ever, or twice as large as any since then. A number that falls is converging,
    however slowly (an accelerator's falls in leaps, with ups between); one that grows is leaving a saddle.
    One that rounding tosses about breaks its record ever more rarely, after m steps once in about m.
    """

    log_prob: jax.Array
    low: jax.Array
    high: jax.Array
    steps: jax.Array

    @classmethod
    def start(cls, dtype):
        """Before anything is known."""
        unknown = jnp.full((), jnp.inf, dtype)
        return cls(-unknown, unknown, unknown, jnp.zeros((), jnp.int32))

    def update(self, log_prob: jax.Array, number: jax.Array, patience=50):
        """(watch, stalled?) after a step to ``log_prob`` (mean, nats) with the rule's ``number``."""
        rises = log_prob > self.log_prob + rounding(log_prob)
        falls, grows = number < self.low, number > 2 * self.high
        watch = Watch(
            where(rises, log_prob, self.log_prob),
            where(falls, number, self.low),
            where(falls | grows, number, self.high),
            where(rises | falls | grows, 0, self.steps + 1),
        )
        return watch, watch.steps >= patience
