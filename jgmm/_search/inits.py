"""What ``init`` may be: a name, a function, a partition of the rows, or several of these, raced together."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm import init as initialisers
from jgmm._base.arrays import as_array
from jgmm._base.pytree import at_hand
from jgmm._base.types import where
from jgmm._em.steps import m_step
from jgmm._expectation.ridge import FRACTION, ridge_of
from jgmm._expectation.stats import Stats
from jgmm._starts.hierarchical import Tree, tree
from jgmm._starts.makers import STARTS, draws, of_partition

HIERARCHICAL, LABELS, RESPONSIBILITIES = "hierarchical", "labels", "responsibilities"
NAMES = *sorted(STARTS), HIERARCHICAL
FUNCTIONS = {getattr(initialisers, name): name for name in NAMES}
TOLERANCE = 1e-3  # of the sum of a row's responsibilities


def as_inits(init, num_init: int, key, X, sample_weight, k: int, num_present):
    """What makes the starts: static pairs (kind, how many), and what partitions say of the rows, (n, c) or ``None``.

    A kind is a name of `STARTS`, a function, or one of a partition: LABELS, a column, or RESPONSIBILITIES, k of them.
    """
    several = [_as_kind(one, key, X, sample_weight, k, num_present) for one in _as_tuple(init)]
    if num_init < len(several):
        raise ValueError(f"num_init must be at least the number of inits, got {num_init} for {len(several)}.")
    columns = [columns for _, columns in several if columns is not None]
    drawn = len(several) - len(columns)
    shares = iter(len(part) for part in np.array_split(np.arange(num_init - len(columns)), max(drawn, 1)))
    inits = tuple((kind, next(shares) if columns is None else 1) for kind, columns in several)
    return inits, jnp.concatenate(columns, 1) if columns else None


def has_function(inits) -> bool:
    """Whether a user's own function makes starts, which may be no mixtures."""
    return any(callable(kind) for kind, _ in inits)


def _as_tuple(init):
    names = isinstance(init, list) and any(isinstance(one, str) or callable(one) for one in init)
    if names or (isinstance(init, tuple) and not init):
        raise TypeError(f"init must be one start, or several in a tuple, got {init!r}.")
    return init if isinstance(init, tuple) else (init,)


def _as_kind(init, key, X, sample_weight, k, num_present) -> tuple[Any, Any]:
    """The kind of one init, and its columns (n, 1) or (n, k), or ``None`` for what is drawn."""
    init = FUNCTIONS.get(init, init) if callable(init) else init
    if callable(init) or (isinstance(init, str) and init in STARTS):
        return init, None
    if isinstance(init, str) and init == HIERARCHICAL:
        init = tree(X, sample_weight, key=key)
    if isinstance(init, Tree):
        present = k if num_present is None else int(num_present)
        init = init.labels(min(present, init.num_groups))  # the others are empty, and their status says so
    if isinstance(init, str | bytes) or np.ndim(init) not in (1, 2):
        raise ValueError(
            f"init must be one of {', '.join(map(repr, NAMES))}, a function, labels (n,), responsibilities (n, k), a "
            f"jgmm.init.Tree, or a tuple of these, got {init!r}. To start from a mixture, use jgmm.em."
        )
    init = init if hasattr(init, "dtype") else np.asarray(init)
    dtype, init = init.dtype, as_array("init", init).astype(X.dtype)
    there = np.asarray(sample_weight) > 0 if at_hand((init, sample_weight)) else None
    return (_labels if init.ndim == 1 else _responsibilities)(init, dtype, there, X.shape[0], k)


def _labels(labels, dtype, there, n, k):
    if labels.shape != (n,):
        raise ValueError(f"init must be one label for each of the {n} rows, got {labels.shape[0]} labels.")
    if not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(f"init must be integers where it is labels of the rows, got dtype {dtype}.")
    if there is not None:
        values = np.asarray(labels)[there]
        if values.min() < 0 or values.max() >= k:
            raise ValueError(f"init must be labels 0 to {k - 1}, got {values.min():.0f} to {values.max():.0f}.")
    return LABELS, labels[:, None]


def _responsibilities(resp, _, there, n, k):
    if resp.shape != (n, k):
        raise ValueError(f"init must be responsibilities of shape ({n}, {k}), got {resp.shape}.")
    if there is not None:
        values = np.asarray(resp)[there]
        if not ((values >= 0).all() and (np.abs(values.sum(1) - 1) <= TOLERANCE).all()):
            raise ValueError("init must be responsibilities, none negative and of sum one in each row.")
    return RESPONSIBILITIES, resp


def starts_of(key, inits, rows, given, moments, k, family, num_present):
    """A batch of starts: mixtures, or where all are partitions their `Stats`.

    Args:
        key: for all that is drawn.
        inits, given: of `as_inits`, the columns those of these rows.
        rows: (n, d) and their weights (n,).
    """
    X, sample_weight = rows
    keys = [key] if len(inits) == 1 else list(jax.random.split(key, len(inits)))
    parts = []
    for (kind, count), own in zip(inits, keys, strict=True):
        if kind in (LABELS, RESPONSIBILITIES):
            width = k if kind == RESPONSIBILITIES else 1
            columns, given = given[:, :width], given[:, width:]
            resp = _resp_of_labels(columns[:, 0], k) if kind == LABELS else columns
            parts.append(jax.tree.map(lambda leaf: leaf[None], of_partition(resp, X, sample_weight, moments, family)))
        else:
            parts.append(_drawn(own, kind, count, X, sample_weight, moments, k, family, num_present))
    if len({type(part) for part in parts}) > 1:
        ridge = ridge_of(moments, FRACTION)
        made = jax.vmap(lambda stats: m_step(stats, family, ridge=ridge))
        parts = [made(part) if isinstance(part, Stats) else part for part in parts]
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _drawn(key, kind, count, X, sample_weight, moments, k, family, num_present):
    """Starts of one kind: the random numbers of those that have a name are drawn at once."""
    if callable(kind):
        start = lambda key: kind(key, X, k, cov=family, sample_weight=sample_weight)  # noqa: E731
        return jax.vmap(start)(jax.random.split(key, count))
    u = jax.random.uniform(key, (*draws(kind, X.shape[0], k), count), X.dtype)
    start = lambda u: STARTS[kind](u, X, sample_weight, moments, k, family, num_present)  # noqa: E731
    return jax.vmap(start, in_axes=-1)(u)


def _resp_of_labels(labels, k):
    """One-hot (n, k); NaN for what is no label, which nobody could refuse inside ``jit``."""
    resp = jax.nn.one_hot(labels.astype(jnp.int32), k, dtype=labels.dtype)
    return where((resp.sum(1) > 0)[:, None], resp, jnp.nan)
