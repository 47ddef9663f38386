"""The state of a fit in a file, so that it can be killed at any instant and go on.

The file holds what the fit is, ``problem``, beside what was reached: the same call again goes on from there, and
another one is an error.
"""

import os
import time
from typing import Any

import jax
import numpy as np

from jgmm._base.options import check_seconds
from jgmm._files.archive import FileError
from jgmm._files.store import load, save


def described(value) -> list:
    """A value as a list that can be saved and compared: the structure of its tree, and its numbers."""
    return [str(jax.tree.structure(value)), *map(np.asarray, jax.tree.leaves(value))]


def _same(a, b) -> bool:
    """Whether two trees of lists, numbers, strings and arrays are the same, bit for bit."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def as_wait(path, seconds) -> float:
    """How many seconds lie between two writings of a checkpoint at least."""
    if seconds is not None and path is None:
        raise ValueError("checkpoint_seconds needs a checkpoint, the path of a file, got None.")
    return check_seconds("checkpoint_seconds", seconds) or 0.0


class Checkpoint:
    """A file that holds what was reached; without a path nothing is written.

    It is written when it is opened, so that a path that cannot be is an error at once.

    Args:
        path: of the file, or ``None``.
        wait: how many seconds lie between two writings at least.
        problem: {name: value} of what the fit is (lists, numbers, strings, arrays).
        types: classes that are not jgmm's, in what is reached.

    Attributes:
        reached: {name: tree} of what the file holds.
    """

    def __init__(self, path: str | os.PathLike | None, wait: float, problem: dict, types=()):
        self.path, self.wait, self.problem = path, wait, problem
        self.reached, self.written = {}, 0.0
        if path is not None and os.path.exists(path):
            self.reached = _found(path, problem, types)
        self._write()

    def keep(self, name: str, tree: Any, now: bool = False):
        """Hold what was reached under this name; write it if it is time to, or ``now``."""
        self.reached[name] = tree
        if now or time.monotonic() - self.written >= self.wait:
            self._write()

    def _write(self):
        if self.path is not None:
            save(self.path, {"problem": self.problem, "reached": self.reached})
            self.written = time.monotonic()


def _found(path, problem, types):
    """What was reached according to a file, which is of this problem."""
    found, name = load(path, types=types), os.fsdecode(path)
    if not isinstance(found, dict) or found.keys() != {"problem", "reached"}:
        raise FileError(f"{name} is no checkpoint of a stream. Use another path.")
    theirs = found["problem"]
    other = [part for part in problem | theirs if not _same(theirs.get(part), problem.get(part))]
    if other:
        raise ValueError(
            f"The checkpoint {name} must be of this fit, and is of one with another {', '.join(other)}. Call with the "
            "same arguments to go on, or delete it, or use another path."
        )
    return found["reached"]
