"""The one way a class of this library becomes a JAX pytree.

Every value type (mixture, covariance, statistics, result, stop rule) is a frozen dataclass whose
fields are all leaves, but for those that set a shape (`static`). Its constructor stores what it is
given and nothing else, because ``vmap``, ``jit`` and ``jax.tree.map`` rebuild values with
placeholders in place of arrays.
"""

import dataclasses
import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.core import Tracer

T = typing.TypeVar("T", bound=type)
Tree = typing.TypeVar("Tree")

# The public classes by their names: the only ones that a file can name.
PUBLIC: dict[str, type] = {}


def static(*, default: typing.Any, repr: bool = True) -> typing.Any:
    """A field that is no leaf: it sets a shape, and another value compiles anew."""
    return dataclasses.field(default=default, metadata={"static": True}, repr=repr)


def public(value: T) -> T:
    """Say that a class lives in ``jgmm``: what is pickled or exported outlives a move of the file."""
    value.__module__ = "jgmm"
    PUBLIC[value.__name__] = value
    return value


@typing.dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(static, dataclasses.field))
def pytree(cls: T) -> T:
    """Make ``cls`` a frozen dataclass registered with JAX, every field a traced child unless `static`."""
    # eq=False: comparing arrays with == has no single truth value; identity and hash stay.
    own = "__repr__" in vars(cls)
    cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    if not own:
        setattr(cls, "__repr__", short_repr)  # noqa: B010 (a type has no such attribute to assign)
    names = {True: [], False: []}
    for field in dataclasses.fields(cls):
        names["static" in field.metadata].append(field.name)
    cls = jax.tree_util.register_dataclass(cls, data_fields=names[False], meta_fields=names[True])
    return export.register_pytree_node_serialization(
        cls,
        serialized_name=f"{cls.__module__}.{cls.__name__}",
        serialize_auxdata=lambda choices: json.dumps(choices).encode(),
        deserialize_auxdata=lambda text: tuple(json.loads(text)),
    )


FEW = 6  # numbers in a row that are shown; of more, or of a matrix, only the dtype and the shape


def short_repr(value) -> str:
    """``Name(field=..., ...)`` in a line or two: whole arrays would fill a screen."""
    fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr]
    return f"{type(value).__name__}({', '.join(f'{name}={_brief(part)}' for name, part in fields)})"


def _brief(value) -> str:
    """An array as its numbers, to four digits, or as ``float32[3,4]``; anything else as it shows itself."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return repr(value)
    if len(value.shape) > 1 or value.size > FEW or not at_hand(value):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return np.array2string(np.asarray(value), precision=4, separator=", ", max_line_width=120).replace("\n", "")


def at_hand(tree) -> bool:
    """Whether the numbers of all arrays can be read: they are known, not on other hosts, and not given away."""
    return all(map(_readable, jax.tree.leaves(tree)))


def _readable(leaf):
    if isinstance(leaf, Tracer) or not isinstance(leaf, jax.Array):
        return isinstance(leaf, np.ndarray | np.generic)
    return (leaf.is_fully_addressable or leaf.is_fully_replicated) and not leaf.is_deleted()


def _axes(leaf):
    """The mesh axes over which a value varies inside ``shard_map``; none that we know of, if JAX renames this again."""
    kind = jax.typeof(leaf)
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else getattr(kind, "vma", frozenset())


def is_varying(tree) -> bool:
    """Whether anything varies over mesh axes, inside ``shard_map``."""
    return any(map(_axes, jax.tree.leaves(tree)))


def varying_as(start: Tree, *given) -> Tree:
    """The start of a loop over ``given``, marked as varying over the mesh axes over which they vary in ``shard_map``.

    Zeros are the same on every device, what a loop makes of its shard is not: to JAX the two are of different type.
    """
    axes = frozenset().union(*map(_axes, jax.tree.leaves(given)))

    def vary(leaf):
        missing = tuple(sorted(axes - _axes(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, start) if axes else start


def zeros_of(function, *given) -> typing.Any:
    """Zeros in place of what ``function(*given)`` would return, which is not run: to start a loop that returns it."""
    shapes = jax.eval_shape(function, *given)
    return jax.tree.map(lambda x: varying_as(jnp.zeros(x.shape, x.dtype), x), shapes)
