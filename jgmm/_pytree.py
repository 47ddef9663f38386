"""The one way a class of this library becomes a JAX pytree.

Every value type (mixture, covariance, statistics, result, stop rule) is a frozen dataclass whose
fields are all leaves. Its constructor stores what it is given and nothing else, because ``vmap``,
``jit`` and ``jax.tree.map`` rebuild values with placeholders in place of arrays.
"""

import dataclasses

import jax


def pytree(cls):
    """Make ``cls`` a frozen dataclass registered with JAX, every field a traced child."""
    # eq=False: comparing arrays with == has no single truth value; identity and hash stay.
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    return jax.tree_util.register_dataclass(cls, data_fields=names, meta_fields=[])
