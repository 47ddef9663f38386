"""Compiled programs: ``jax.jit``, with cheaper code where compiling costs more than running.

On the CPU XLA spends most of a first call in generating code. For programs of little work, called outside ``jit``,
it is told to spend less: half the seconds and half the memory maps. What passes over the rows once or twice then takes
no longer to run, and a loop over large data up to three times as long. JAX takes such options for outermost programs
alone, so each function has two: one for values, one for traced arguments.

Compiled code also takes memory maps, of which Linux gives a process some 65,000: at the end of them LLVM ends Python.
Before half of them are taken all that was compiled here is given up, to be compiled again where it is called again.
Each program of `fit` takes some 250 for small data, more for large. What a user's own ``jit`` compiled stays: a process
of hundreds of such programs should call ``jax.clear_caches()`` now and then.
"""

import functools
import itertools
from pathlib import Path
from typing import Any

import jax

from jgmm._base.lengths import is_eager

CHEAP = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
SMALL = 2**17  # numbers in the largest argument, up to which running is not slower (measured from 64 to 65,536)
LOOP = 128  # of a loop so many times fewer: 1.07 times as long at 640 numbers, 1.3 at 1,664, 1.5 (`fit`) to 3 at 16,384


@functools.cache
def _options_known():
    """Whether this XLA takes the options: their names are its own, and may go."""
    try:
        jax.jit(lambda x: x, compiler_options=CHEAP).lower(0.0).compile()
    except Exception:
        return False
    return True


def _cheap(arguments, most):
    """Whether a call with these arguments is better compiled cheaply: values, outside ``jit``, of no more numbers."""
    leaves = jax.tree.leaves(arguments)
    if jax.default_backend() != "cpu" or not is_eager(leaves):
        return False
    return max(getattr(leaf, "size", 0) for leaf in leaves) <= most and _options_known()


def _share_of_maps() -> float:
    """How much of the memory maps that it may have this process has taken: 0 where no one counts them."""
    try:
        most = int(Path("/proc/sys/vm/max_map_count").read_text())
        return Path("/proc/self/maps").read_bytes().count(b"\n") / most
    except OSError:
        return 0.0


def _make_room():
    """Give up all programs if their memory maps are becoming scarce."""
    if next(COMPILED) % SELDOM == 0 and _share_of_maps() > 0.5:
        for program in PROGRAMS:
            program.full.clear_cache()
            program.cheap.clear_cache()


PROGRAMS: "list[Program]" = []
COMPILED = itertools.count()
SELDOM = 16  # to count maps takes 10 ms; sixteen programs have a fifth of them at most


class Program:
    """A compiled function, called as the function is."""

    def __init__(self, function, static_argnames, loops=False):
        functools.update_wrapper(self, function)
        self.loops = loops
        self.full: Any = jax.jit(function, static_argnames=static_argnames)
        self.cheap: Any = jax.jit(function, static_argnames=static_argnames, compiler_options=CHEAP)
        PROGRAMS.append(self)

    def __call__(self, *args, **kwargs):
        most = SMALL // LOOP if self.loops else SMALL
        function = self.cheap if _cheap((args, kwargs), most) else self.full
        before = function._cache_size()
        result = function(*args, **kwargs)
        if function._cache_size() > before:  # one more was compiled
            _make_room()
        return result

    def _cache_size(self):
        """How many programs there are, of both kinds."""
        return self.full._cache_size() + self.cheap._cache_size()


def program(*static_argnames, loops=False):
    """A decorator: compile the function as a `Program`, anew for each value of the arguments named.

    Args:
        static_argnames: the arguments whose values are choices.
        loops: whether it passes over the rows until something is reached, so that running counts more.
    """
    return lambda function: Program(function, static_argnames, loops)
