"""Fewer sweeps to the same optimum: `Squarem` and `Anderson` extrapolate the path of EM.

EM converges linearly: near the optimum each step multiplies the error by J = I - I_c^-1 I_o, with the
information I_c of the complete and I_o of the observed data (Dempster, Laird & Rubin 1977, sec. 3). An
accelerator learns from a few steps how J acts, and jumps to where they lead.

An accelerator is a pytree of traced numbers with two methods, ``init`` and ``propose``. It sees vectors
of numbers and nothing else, so it serves any map that climbs an objective: whoever
drives it evaluates what it proposes, and takes the proposal back where the objective fell. J is
self-adjoint in the inner product of I_c, so lengths and angles are measured in that (`metric.Chart`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import is_concrete, on_device
from jgmm._base.options import check_count
from jgmm._base.pytree import public, pytree, static
from jgmm._base.types import where
from jgmm._covariance.factor import diagonal, matmul
from jgmm._em.metric import squared_length
from jgmm._mixture.frozen import free_values

# How much an old observation of the slowest rate loses in one step of an accelerator: half in 7 steps. Leaps
# remove what is slow, so that the next steps see the fast rest and would tell that there is little left.
FORGET = 1.1


def _dot(a, b):
    return matmul(a, b)


def _remembered(slowest: jax.Array, seen: jax.Array) -> jax.Array:
    """The smallest curvature 1 - lambda of late: what was seen once is forgotten by and by."""
    return jnp.minimum(seen, FORGET * jnp.abs(slowest))


@pytree
class Proposal:
    """What to try next, and what the accelerator saw of EM.

    Args:
        vector: (p,) what to try.
        leap: () whether it is a leap and not EM's own step.
        rate: () EM's slowest rate seen of late, or inf.
        gain: () half the squared length of EM's own step, in the metric.
    """

    vector: jax.Array
    leap: jax.Array
    rate: jax.Array
    gain: jax.Array


@pytree
class _Cycle:
    begin: jax.Array  # where the cycle began
    phase: jax.Array  # what was proposed last: 0 the step after a leap, 1 the first of a cycle, 2 a leap
    reach: jax.Array
    hit: jax.Array  # the last leap was cut to `reach`
    slowest: jax.Array


@pytree
@public
class Squarem:
    """Squared extrapolation: two steps of EM give the direction and the length of a leap.

    With r = F(x) - x and v = F(F(x)) - F(x) - r, the leap is x + 2 a r + a^2 v, a = |<r, v>| / |v|^2; a step of EM
    from there begins the next cycle. Three sweeps make a cycle. a is the step S2 of Varadhan & Roland (2008, sec. 6),
    by its size, so that near a saddle leaps lead away from it; it never exceeds their S3, |r| / |v|, which overshoots
    where slow and fast directions mix. It is at most ``reach``, which grows when a leap of that length was kept and
    shrinks when one was taken back.

    Args:
        reach: () the longest a at first; at least 1.
        growth: () the factor by which that grows and shrinks, at least 1.

    Example:
        >>> import jgmm
        >>> jgmm.Squarem()
        Squarem(reach=1.0, growth=4.0)
    """

    reach: float | jax.Array = 1.0
    growth: float | jax.Array = 4.0

    def init(self, vector: jax.Array):
        """The state before the first step from ``vector`` (p,)."""
        unknown = jnp.full((), -jnp.inf, vector.dtype)
        reach = jnp.asarray(self.reach, vector.dtype)
        return _Cycle(vector, jnp.zeros((), jnp.int32), reach, jnp.zeros((), bool), unknown)

    def propose(self, state: _Cycle, old: jax.Array, new: jax.Array, metric, kept: jax.Array):
        """(state, `Proposal`), after the map took ``old`` (p,) to ``new``.

        Args:
            state: from `init` or the last call.
            old: (p,) where the iteration stands.
            new: (p,) the map of it.
            metric: maps vectors (m, p) to vectors (m, q), whose products are the inner products.
            kept: () whether the last proposal was kept; if not, ``old`` is what it was before.
        """
        first, reach = old - state.begin, state.reach
        bend = new - old - first
        inner = metric(jnp.stack([first, bend]))
        moved, bent = (inner**2).sum(-1)
        along = _dot(*inner)
        length = jnp.abs(along) / where(bent > 0, bent, 1)

        reach = where(kept & (state.phase == 2) & state.hit, reach * self.growth, reach)
        shrunk = jnp.maximum(1, where(state.hit, reach / self.growth, reach))
        reach = where(kept, reach, shrunk)
        complete = kept & (state.phase == 1) & (bent > 0)
        hit = complete & (length >= reach)
        length = jnp.minimum(length, reach)
        vector = state.begin + 2 * length * first + length**2 * bend
        leap = complete & (length > 1) & jnp.isfinite(vector).all()
        reach = where(hit & ~leap, reach * self.growth, reach)

        curvature = -along / where(moved > 0, moved, 1)
        slowest = where(complete, _remembered(state.slowest, curvature), state.slowest)
        phase = where(leap, 2, where(state.phase == 2, 0, 1)).astype(jnp.int32)
        begin = where(leap, state.begin, old)
        state = _Cycle(begin, phase, reach, where(leap, hit, state.hit & ~kept), slowest)
        gain = squared_length(inner.sum(0)) / 2
        return state, Proposal(where(leap, vector, new), leap, 1 - slowest, gain)


@pytree
class _Memory:
    old: jax.Array  # (p,) where the map was applied last
    step: jax.Array  # (p,) and what it added
    pairs: jax.Array  # (2, memory, p) differences of successive `old`, and of successive `step`; a ring
    count: jax.Array  # how many were put there since it was cleared; -1 before the first step
    reach: jax.Array
    hit: jax.Array
    slowest: jax.Array


@pytree
@public
class Anderson:
    """Anderson acceleration with memory: a Newton step in the space of the last moves, EM in the rest.

    The differences S of the last points and Y of their residuals f = F(x) - x say how J acts on the span
    of S. In an orthonormal basis Q of it, B = -Q^T Y S^+ Q estimates the curvature I - J; the leap goes
    s = B^-1 Q^T f within the span and takes an EM step from there (type-I Anderson acceleration, Fang & Saad
    2009, sec. 3.2). Three guards, after the damping and the restarts of Henderson & Varadhan 2019: B is made
    symmetric, which it is at the optimum, and a negative curvature counts by its size, so that leaps lead
    away from saddles and not into them; no curvature counts as less than 1 / ``reach``, which grows when
    a leap so damped was kept and shrinks when one was taken back; and then the memory is cleared.

    Args:
        reach: () the largest factor by which a step is lengthened at first; at least 1.
        growth: () the factor by which that grows and shrinks, at least 1.
        memory: `int`, how many moves are remembered (static).

    Example:
        >>> import jgmm
        >>> jgmm.Anderson(memory=3)
        Anderson(reach=4.0, growth=4.0, memory=3)
    """

    reach: float | jax.Array = 4.0
    growth: float | jax.Array = 4.0
    memory: int = static(default=5)

    def init(self, vector: jax.Array):
        """The state before the first step from ``vector`` (p,)."""
        memory = check_count("memory", self.memory, least=1)
        reach, unknown = jnp.asarray(self.reach, vector.dtype), jnp.full((), -jnp.inf, vector.dtype)
        pairs, count = jnp.zeros((2, memory, vector.size), vector.dtype), jnp.full((), -1, jnp.int32)
        return _Memory(vector, jnp.zeros_like(vector), pairs, count, reach, jnp.zeros((), bool), unknown)

    def propose(self, state: _Memory, old: jax.Array, new: jax.Array, metric, kept: jax.Array):
        """(state, `Proposal`), after the map took ``old`` (p,) to ``new``; arguments as in `Squarem.propose`."""
        step, reach, (_, memory, p) = new - old, state.reach, state.pairs.shape
        pair = jnp.stack([old - state.old, step - state.step])[:, None]
        count = where(kept, state.count + 1, 0)
        slot = jnp.maximum(count - 1, 0) % memory
        pairs = jax.lax.dynamic_update_slice_in_dim(state.pairs, pair, slot, axis=1)
        reach = where(kept, where(state.hit, reach * self.growth, reach), jnp.maximum(1, reach / self.growth))

        rows = pairs.reshape(2 * memory, p)
        inner = metric(jnp.concatenate([rows, step[None]]))
        products = _dot(inner, inner.T)
        coefficients, seen, damped = _newton(products, jnp.arange(memory, dtype=count.dtype) < count, reach)
        vector = new + _dot(jnp.tile(coefficients, 2), rows)
        sound = jnp.isfinite(coefficients.sum() + products[-1, -1])  # and so the vector: a look at few numbers
        leap = jnp.isfinite(seen) & sound
        slowest = where(leap, _remembered(state.slowest, seen), state.slowest)
        # What is not finite is no experience: the memory is cleared.
        state = _Memory(old, step, pairs, where(sound, count, 0), reach, leap & damped, slowest)
        return state, Proposal(where(leap, vector, new), leap, 1 - slowest, products[-1, -1] / 2)


def _newton(products, present, reach):
    """A damped Newton step as coefficients of the moves (m,), its smallest curvature (inf without any
    moves), and whether it was damped.

    Args:
        products: (2 m + 1, 2 m + 1) the inner products of the moves, the changes and the residual.
        present: (m,) which moves there are.
        reach: () the largest factor by which a step is lengthened.
    """
    m = present.size
    both = present[:, None] & present[None]
    gram, across = (where(both, part, 0) for part in (products[:m, :m], products[:m, m:-1]))
    along = where(present, products[:m, -1], 0)
    size = jnp.sqrt(jnp.maximum(diagonal(gram), 0))
    unit = where(size > 0, 1 / where(size > 0, size, 1), 0)
    spread, directions = jnp.linalg.eigh(unit[:, None] * gram * unit[None], symmetrize_input=False)
    resolved = spread > 100 * jnp.finfo(gram.dtype).eps  # and not filled by rounding
    basis = unit[:, None] * directions * where(resolved, 1 / jnp.sqrt(where(resolved, spread, 1)), 0)[None]
    bend = -_dot(_dot(basis.T, across), basis)
    # A direction without moves gets EM's own curvature, 1: nothing follows from it, nothing happens along it.
    bend = bend + np.eye(m, dtype=bend.dtype) * where(resolved, 0, 1).astype(bend.dtype)[None]
    curvatures, axes = jnp.linalg.eigh(bend, symmetrize_input=True)
    damped = jnp.maximum(jnp.abs(curvatures), 1 / reach)
    basis = _dot(basis, axes)
    coefficients = _dot(basis, _dot(along, basis) / damped)
    smallest = where(resolved.any(), curvatures[0], jnp.inf)
    return coefficients, smallest, (jnp.abs(curvatures) < 1 / reach).any()


ACCELERATORS = {"squarem": Squarem, "anderson": Anderson}


def as_accelerator(accelerate: "str | Squarem | Anderson | None", dtype):
    """``None`` or an accelerator with its numbers as arrays, so that a new one does not recompile."""
    if accelerate is None:
        return None
    if isinstance(accelerate, str) and accelerate in ACCELERATORS:
        accelerate = ACCELERATORS[accelerate]()
    if isinstance(accelerate, type) or not (hasattr(accelerate, "init") and hasattr(accelerate, "propose")):
        names = ", ".join(map(repr, ACCELERATORS))
        raise TypeError(f"accelerate must be None, {names} or an accelerator like jgmm.Anderson(), got {accelerate!r}.")
    for value in jax.tree.leaves(accelerate):
        if is_concrete(value) and not np.all(np.asarray(value) >= 1):
            raise ValueError(f"The numbers of an accelerator must be at least 1, got {accelerate!r}.")
    return jax.tree.map(lambda value: on_device(value, dtype), accelerate)


@pytree
class Leaps:
    """The accelerator's part of the state of the loop of `em`: what it keeps, and what it proposed."""

    state: object
    proposal: Proposal


def start_leaps(accelerate, params, frozen):
    """Before the first E-step: the start itself is tried."""
    _, to_vector = free_values(params, frozen)
    vector = to_vector(params)
    unknown = jnp.full((), jnp.inf, vector.dtype)
    return Leaps(accelerate.init(vector), Proposal(vector, jnp.zeros((), bool), unknown, unknown))


def advance(accelerate, leaps, chart, params, em_step, kept, frozen):
    """(leaps, what to try next: parameters, factor, component statuses), after an E-step.

    Args:
        accelerate: the accelerator.
        leaps: the `Leaps` so far.
        chart: the `Chart` where the last E-step was taken.
        params: the accepted mixture.
        em_step: the EM step from it: parameters and component statuses.
        kept: () whether what was tried is what was accepted.
        frozen: the parts that no leap moves.
    """
    build, to_vector = free_values(em_step[0], frozen)
    change, _ = free_values(jax.tree.map(jnp.zeros_like, params), frozen)
    metric = jax.vmap(lambda v: chart.vector(change(v)))
    state, proposal = accelerate.propose(leaps.state, to_vector(params), to_vector(em_step[0]), metric, kept)
    tried = build(proposal.vector)
    if "weights" not in frozen:  # a leap makes rounding long, and weights of a larger sum would look like a gain
        tried = dataclasses.replace(tried, weights=tried.weights / tried.weights.sum())
    return Leaps(state, proposal), (tried, tried.cov.factor(), em_step[1])


def penalty(factor, ridge):
    """What the ridge takes off the log-likelihood of a row of each component: tr(Sigma_k^-1 diag(ridge)) / 2."""
    return factor.trace(ridge) / 2
