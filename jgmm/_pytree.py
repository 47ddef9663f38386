"""The one way a class of this library becomes a JAX pytree.

Every value type (mixture, covariance, statistics, result, stop rule) is a frozen dataclass whose
fields are all leaves, but for those that set a shape (`static`). Its constructor stores what it is
given and nothing else, because ``vmap``, ``jit`` and ``jax.tree.map`` rebuild values with
placeholders in place of arrays.
"""

import dataclasses

import jax


def static(default):
    """A field that is no leaf: it sets a shape, and another value compiles anew."""
    return dataclasses.field(default=default, metadata={"static": True})


def pytree(cls):
    """Make ``cls`` a frozen dataclass registered with JAX, every field a traced child unless `static`."""
    # eq=False: comparing arrays with == has no single truth value; identity and hash stay.
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    names = {True: [], False: []}
    for field in dataclasses.fields(cls):
        names["static" in field.metadata].append(field.name)
    return jax.tree_util.register_dataclass(cls, data_fields=names[False], meta_fields=names[True])
