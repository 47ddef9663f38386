"""What annotations call the things that come from outside.

Public functions say by them what they take. Within the package types are named where a reader, or pyright, is helped.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

# Whatever `arrays.as_array` takes: JAX's and NumPy's arrays, numbers, lists of them, data frames.
ArrayLike = jax.Array | np.typing.ArrayLike

# `jnp.where` of three arguments, which pyright takes for a tuple as well where it does not know their types.
where: Callable[..., jax.Array] = jnp.where
