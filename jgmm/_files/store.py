"""`save` and `load`: whatever jgmm returns, in a file and back, bit for bit.

    load(path) = tree       after save(path, tree)

Nothing in a file is run: it holds numbers, and names that are looked up in a table of jgmm's own classes.
"""

import errno
import os
from typing import Any

from jgmm._files.archive import FileError, Reader, replacing, write
from jgmm._files.tree import Decoder, Encoder, as_types


def save(path: str | os.PathLike, tree: Any) -> None:
    """Write a tree to a file, for `load`: a mixture, statistics, a result, or lists, tuples and dicts of them.

    The file is NumPy's npz with a JSON header, ``jgmm.json``: ``numpy.load(path)["params.means"]`` reads an array
    without jgmm. It takes the place of an older one when it is whole and on the disk; if anything goes wrong the
    older one stays as it is.

    Args:
        path: of the file. No ending is added; ".npz" is usual.
        tree: of every public type of jgmm; arrays of JAX and NumPy (integers, floats down to bfloat16 and float8,
            complex and truth values), typed random keys, None, numbers, strings; lists, tuples and dicts by strings or
            integers; and frozen dataclasses and named tuples of your own, such as a covariance family. Where an
            array lies, on which device, is not kept.

    Returns:
        None: what comes back from `load` is the tree, a `Result` for a `Result`.

    Raises:
        TypeError: something in the tree cannot be saved; where, and what to do.
        ValueError: the tree has more than about 100,000 arrays, or holds itself.
        OSError: the file cannot be written.

    Example:
        >>> import pathlib, tempfile, jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.npz"
        >>> jgmm.save(path, {"params": params, "seed": 3})
        >>> print(jgmm.load(path)["params"].means)
        [[0. 0.]]
    """
    encoder = Encoder()
    try:
        node = encoder.node(tree)
    except RecursionError:
        raise ValueError("The tree must not hold itself, nor lie hundreds of levels deep.") from None
    with replacing(path) as file:
        write(file, node, encoder.arrays)


def load(path: str | os.PathLike, *, types: Any = ()) -> Any:
    """Read what `save` wrote, bit for bit.

    What was an array of JAX or NumPy is one again, with its dtype. Arrays of 64 bits need JAX's x64 mode: without it
    (``jax.config.update("jax_enable_x64", True)``) they come back as NumPy's, all their digits kept; functions of
    jgmm take them, and compute in float32 as they do with any other float64 array in such a process.

    A file may come from anywhere: nothing in it is run, and no more memory is taken than a small multiple of its
    size. Whether its numbers are a mixture it does not ask: `GMM.check` does, with every fit and query.

    Args:
        path: of the file.
        types: classes of your own that the file holds, ``(MyFamily,)``. They are found by their names, and their
            constructors called with what the file holds.

    Returns:
        The tree: a `GMM` for a `GMM`, a `Result` for a `Result`.

    Raises:
        FileError: the file is damaged, none of `save`, of a newer version, or holds a class that is not in ``types``.
        TypeError, ValueError: ``types`` are no dataclasses or named tuples, or two have one name.
        OSError: the file cannot be read.

    Example:
        >>> import pathlib, tempfile, jax.numpy as jnp, jgmm
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "stop.npz"
        >>> jgmm.save(path, (jgmm.LogProbStop(1e-6), None))
        >>> jgmm.load(path)
        (LogProbStop(tol=1e-06), None)
    """
    table = as_types(types)
    with open(os.fspath(path), "rb") as file:  # where a number would be an open file
        try:
            reader = Reader(file)
            tree = Decoder(reader.array, table).value(reader.header["tree"])
            reader.check_end()
        except FileError as error:
            raise FileError(f"{os.fsdecode(path)} cannot be loaded: {error}.") from None
        except Exception as error:
            # A broken archive also sends `zipfile` to places that are none (EINVAL); other trouble is the disk's.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            said = f"{type(error).__name__}: {error}"
            raise FileError(f"{os.fsdecode(path)} cannot be loaded: it is damaged ({said}).") from error
    return tree
