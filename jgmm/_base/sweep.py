"""How an E-step passes over the rows: in what chunks, and on which devices.

Rows spread over the devices of a mesh stay where they are. Each device sums its own, the sums are added up
(``psum``), and so every device holds the same statistics and learns the same mixture from them.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jgmm._base.options import as_axes, check_optional_count
from jgmm._base.pytree import varying_as


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is chosen about the passes over the rows: static.

    Args:
        chunk_size: rows worked on at a time; ``None`` fits the cache of the backend.
        lanes: how many mixtures run side by side under ``vmap``, for the size of a chunk.
        axis_name: the mesh axes over which the rows are spread; () if they are whole.
        mesh: the mesh to enter first (`on_shards`); ``None`` if they are whole, or ``shard_map`` has been entered.
    """

    chunk_size: int | None = None
    lanes: int = 1
    axis_name: tuple = ()
    mesh: Mesh | AbstractMesh | None = None

    def total(self, sums):
        """The sums over all rows, from those over the rows of this device: one message, for each has a latency."""
        if not self.axis_name:
            return sums
        vector, restore = ravel_pytree(sums)
        return restore(jax.lax.psum(vector, self.axis_name))

    @property
    def num_shards(self):
        """How many devices share the rows."""
        return jax.lax.axis_size(self.axis_name) if self.axis_name else 1

    @property
    def shard(self):
        """The number of this device among them."""
        return jax.lax.axis_index(self.axis_name) if self.axis_name else 0

    def gather(self, rows):
        """Few rows (m, ...) of each device, on every device: (num_shards * m, ...)."""
        if not self.axis_name:
            return rows

        def whole(x):
            size = x.shape[0]
            empty = varying_as(jnp.zeros((self.num_shards * size, *x.shape[1:]), x.dtype), x)
            return jax.lax.dynamic_update_slice_in_dim(empty, x, self.shard * size, 0)

        return self.total(jax.tree.map(whole, rows))

    def parted(self, function, batch):
        """``jax.vmap(function)(batch)``, of which each device does its part; the result, of one dtype, is on all."""
        if not self.axis_name:
            return jax.vmap(function)(batch)
        size = len(jax.tree.leaves(batch)[0])
        part = -(-size // self.num_shards)
        places = jnp.minimum(self.shard * part + jnp.arange(part), size - 1)
        mine = jax.tree.map(lambda x: x[places], batch)
        return jax.tree.map(lambda x: x[:size], self.gather(jax.vmap(function)(mine)))

    def on_shards(self, function, by_row=False):
        """``function(rows, rest)``, run on each device with its own rows and the same rest.

        Its result is the same on all devices, or else (``by_row``) has a row for each row and stays where that is.
        """
        if self.mesh is None:
            return function
        spread = P(self.axis_name)
        shards = jax.shard_map(function, mesh=self.mesh, in_specs=(spread, P()), out_specs=spread if by_row else P())
        if not set(self.axis_name) & set(self.mesh.explicit_axes):
            return shards
        place = NamedSharding(self.mesh, spread)  # along explicit axes nothing moves unless told to
        return lambda rows, rest: shards(jax.sharding.reshard(rows, place), rest)


WHOLE = Sweep()


def on_automatic_axes(function):
    """``function(*arrays)``, whose work XLA itself spreads over the devices; its result is the same on all of them.

    Where mesh axes are explicit JAX asks where each result is to lie: too much to ask of what sorts and draws rows.
    """

    def call(*arrays) -> Any:
        meshes = (jax.typeof(x).sharding.mesh for x in jax.tree.leaves(arrays))
        mesh = next((mesh for mesh in meshes if mesh.explicit_axes), None)
        if mesh is None:
            return function(*arrays)
        return jax.sharding.auto_axes(function, out_sharding=NamedSharding(mesh, P()))(*arrays)

    return call


def _spread(X):
    """The mesh, and the axes of it over which the rows of X are known to lie: ``None`` and () if they are whole.

    The sharding of an array belongs to its type where the axes are explicit, and to its value otherwise: inside
    ``jit`` that of automatic axes is not known.
    """
    sharding = jax.typeof(X).sharding if isinstance(X, Tracer) else getattr(X, "sharding", None)
    if not isinstance(sharding, NamedSharding) or not sharding.spec or sharding.spec[0] is None:
        return None, ()
    axes = sharding.spec[0]
    return sharding.mesh, axes if isinstance(axes, tuple) else (axes,)


def as_sweep(X, chunk_size=None, axis_name=None) -> Sweep:
    """The `Sweep` that a caller asks for, or that the rows of X call for by where they are."""
    chunk_size = check_optional_count("chunk_size", chunk_size)
    if axis_name is not None:
        return Sweep(chunk_size, axis_name=as_axes(axis_name))
    mesh, axes = _spread(X)
    return Sweep(chunk_size, axis_name=axes, mesh=mesh)
