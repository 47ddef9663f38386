"""A tree as a JSON header and arrays, and back again.

A node of the header is a JSON value (None, bool, int, float, str) or says its type:

    {"type": "jgmm.GMM", "fields": {"weights": node, ...}}               a class of jgmm, by its public name
    {"type": "own.Name", "fields": {...}}                                a class of the user's, handed to `decode`
    {"type": "array", "name": "params.means", "dtype": "float64", "shape": [3, 2], "held": "jax"}
    {"type": "key", "impl": "threefry2x32", "data": array node}          typed random keys
    {"type": "list" or "tuple", "items": [node, ...]}, {"type": "dict", "items": [[key, node], ...]}
    {"type": "float", "value": "nan"}, {"type": "jgmm.Status", "value": 3}

Types are looked up in a closed table: no name in a file leads to an import, or to a call of anything else.
"""

import dataclasses
import enum
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jgmm._base.pytree import PUBLIC
from jgmm._files.archive import FileError

_PLAIN = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_PLAIN += ["float16", "float32", "float64", "complex64", "complex128"]
_SMALL = [jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2]  # of which NumPy's files keep only the bits
DTYPES = {dtype.name: dtype for dtype in map(np.dtype, [*_PLAIN, *_SMALL])}
KEYS = ("threefry2x32", "rbg", "unsafe_rbg")


def _bits(dtype):
    """The dtype that a file keeps in place of this one."""
    return dtype if dtype.name in _PLAIN else np.dtype(f"u{dtype.itemsize}")


def field_names(cls):
    """The fields of a dataclass or a named tuple, as its constructor takes them; or None."""
    if dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(cls)
        return [field.name for field in fields] if all(field.init for field in fields) else None
    names = getattr(cls, "_fields", None) if issubclass(cls, tuple) else None
    return None if names is None else list(names)


class Encoder:
    """Makes the node of a value, and keeps its arrays in ``arrays``, by their places in the tree."""

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}
        self.own: dict[str, type] = {}

    def node(self, value, path=()):
        """The node of the value at this path."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"type": "float", "value": repr(value)}
        if isinstance(value, jax.Array):
            return self._jax_array(value, path)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value, "numpy" if isinstance(value, np.ndarray) else "scalar", path)
        if type(value) in (list, tuple):
            items = [self.node(item, (*path, index)) for index, item in enumerate(value)]
            return {"type": type(value).__name__, "items": items}
        if type(value) is dict:
            return self._dict(value, path)
        return self._object(value, path)

    def _jax_array(self, value, path):
        if isinstance(value, Tracer):
            raise TypeError(f"save needs values: call it outside jit and vmap, got a traced array{_at(path)}.")
        if not (value.is_fully_addressable or value.is_fully_replicated):
            raise TypeError(
                f"save needs arrays that are whole in this process, got a part of one{_at(path)}. Gather it with "
                "jax.experimental.multihost_utils.process_allgather."
            )
        if not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return self._array(jax.device_get(value), "jax", path)
        impl = str(jax.random.key_impl(value))
        if impl not in KEYS:
            raise TypeError(f"save takes random keys of {', '.join(KEYS)}, got {impl}{_at(path)}.")
        data = self._array(jax.device_get(jax.random.key_data(value)), "jax", path)
        return {"type": "key", "impl": impl, "data": data}

    def _array(self, value, held, path):
        dtype = value.dtype
        if DTYPES.get(dtype.name) != dtype.newbyteorder("="):
            raise TypeError(f"save takes arrays of numbers, got dtype {dtype}{_at(path)}. Convert it with .astype.")
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"save takes arrays without a mask, got one with a mask{_at(path)}. Use .filled(value).")
        native = np.asarray(value, dtype.newbyteorder("="), order="C")
        name = ".".join(map(str, path)) or "array"
        self.arrays[name] = native.view(_bits(native.dtype))
        return {"type": "array", "name": name, "dtype": native.dtype.name, "shape": list(native.shape), "held": held}

    def _dict(self, value, path):
        items = []
        for index, (key, item) in enumerate(value.items()):
            if key is not None and type(key) not in (bool, int, str):
                raise TypeError(f"save takes dicts whose keys are strings or integers, got {key!r}{_at(path)}.")
            # A name that is no identifier may be like another's, or a path out of the archive.
            plain = type(key) is str and key.isascii() and key.isidentifier()
            items.append([key, self.node(item, (*path, key if plain else index))])
        return {"type": "dict", "items": items}

    def _object(self, value, path):
        cls = type(value)
        if "made_by" in vars(cls):
            cls = cls.__bases__[-1]  # whose constructor makes it again
        is_public = PUBLIC.get(cls.__name__) is cls
        if is_public and isinstance(value, enum.Enum):
            return {"type": f"jgmm.{cls.__name__}", "value": value.value}
        names = field_names(cls)
        if names is None:
            raise TypeError(
                f"save takes what jgmm returns, arrays, numbers, strings, lists, tuples, dicts, and your own frozen "
                f"dataclasses, got {cls.__module__}.{cls.__qualname__}{_at(path)}."
            )
        if not is_public and self.own.setdefault(cls.__name__, cls) is not cls:
            raise TypeError(f"save needs classes of different names, got two {cls.__name__}{_at(path)}. Rename one.")
        fields = {name: self.node(getattr(value, name), (*path, name)) for name in names}
        return {"type": f"{'jgmm' if is_public else 'own'}.{cls.__name__}", "fields": fields}


def _at(path):
    """Where in the tree, for a message."""
    return f" at {'.'.join(map(str, path))}" if path else ""


def as_types(types) -> dict[str, type]:
    """{name in a file: class} of the classes that a user hands to `load`."""
    table = {}
    for cls in types if isinstance(types, (list, tuple)) else (types,):
        if not inspect.isclass(cls) or field_names(cls) is None:
            raise TypeError(f"types must be dataclasses or named tuples of your own, such as (MyFamily,), got {cls!r}.")
        if table.setdefault(f"own.{cls.__name__}", cls) is not cls:
            raise ValueError(f"types must have different names, got two {cls.__name__}.")
    return table


class Decoder:
    """Makes the value of a node, of arrays from ``read(name, dtype, shape)`` and of classes in the closed table."""

    def __init__(self, read, types: dict[str, type]):
        self.read = read
        self.types = types | {f"jgmm.{name}": cls for name, cls in PUBLIC.items()}

    def value(self, node):
        """The value of a node.

        Raises:
            FileError: it is no node that `Encoder` makes.
        """
        match node:
            case None | bool() | int() | float() | str():
                return node
            case {"type": "float", "value": "nan" | "inf" | "-inf" as text}:
                return float(text)
            case {"type": "array"}:
                return self._array(node)
            case {"type": "key", "impl": str(impl), "data": data} if impl in KEYS:
                return jax.random.wrap_key_data(jnp.asarray(self._array(data)), impl=impl)
            case {"type": "list", "items": list(items)}:
                return [self.value(item) for item in items]
            case {"type": "tuple", "items": list(items)}:
                return tuple([self.value(item) for item in items])
            case {"type": "dict", "items": list(items)}:
                return self._dict(items)
            case {"type": str(name), "fields": dict(fields)}:
                return self._object(name, fields)
            case {"type": str(name), "value": int(value)} if issubclass(self._class(name), enum.IntEnum):
                return self._class(name)(value)
        raise FileError(f"its header holds {_shown(node)}, which jgmm.save does not write")

    def _array(self, node):
        match node:
            case {"type": "array", "name": str(name), "dtype": str(kind), "shape": list(shape), "held": str(held)} if (
                kind in DTYPES
                and held in ("jax", "numpy", "scalar")
                and all(type(size) is int and size >= 0 for size in shape)
            ):
                dtype = DTYPES[kind]
                bits = self.read(name, _bits(dtype), tuple(shape))
                if kind == "bool" and bits.view(np.uint8).max(initial=0) > 1:
                    raise FileError(f"its array {name!r} holds truth values other than 0 and 1")
                return _as_held(bits.view(dtype), held)
        raise FileError(f"its header holds {_shown(node)} for an array")

    def _dict(self, items):
        table = {}
        for item in items:
            match item:
                case [None | bool() | int() | str() as key, node] if key not in table:
                    table[key] = self.value(node)
                case _:
                    raise FileError(f"its header holds {_shown(item)} in a dict, which is no item or a second one")
        return table

    def _class(self, name):
        if name in self.types:
            return self.types[name]
        if name.startswith("own."):
            own = name.removeprefix("own.")
            raise FileError(f"it holds a class of your own, {own}. Hand it over: jgmm.load(path, types=({own},))")
        raise FileError(f"it holds a {name}, which this jgmm does not have. Use a newer one: pip install -U jgmm")

    def _object(self, name, nodes):
        cls = self._class(name)
        names = field_names(cls)
        if names is None or not set(nodes) <= set(names):
            raise FileError(f"its {name} has the fields {sorted(nodes)[:10]}, and should have {names}")
        values = {field: self.value(node) for field, node in nodes.items()}
        for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
            if field.name in values and field.metadata.get("static"):
                hash(values[field.name])  # a TypeError here is none in the middle of a jit
        return cls(**values)


def _as_held(array, held):
    """The array as it was held: where JAX has not the dtype (64 bits without x64), by NumPy, which loses no digit."""
    if held == "scalar":
        return array[()]
    return jnp.asarray(array) if held == "jax" and jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype else array


def _shown(node):
    """A node in a message, not longer than a line."""
    text = repr(node)
    return text if len(text) <= 80 else f"{text[:77]}..."
