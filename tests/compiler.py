"""The tests' own compiler options, which take three quarters off what XLA takes; `as_users_do` is without them."""

import importlib.util
import mmap
import os
from pathlib import Path

from jgmm._base import programs

OPTIONS = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": "false"}
FLAGS = " ".join(f"--{name}={value}" for name, value in OPTIONS.items())


def known(library):
    """Whether the options occur in a library: to one that it does not know, XLA answers by ending the process."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(name.encode()) >= 0 for name in OPTIONS)


def set_flags():
    """Set XLA_FLAGS, for this process and for those that it starts, if they are not set and jaxlib knows them."""
    (folder,) = importlib.util.find_spec("jaxlib").submodule_search_locations
    if "XLA_FLAGS" not in os.environ and any(map(known, Path(folder).glob("libjax_common.*"))):
        os.environ["XLA_FLAGS"] = FLAGS
        programs.SMALL = -1  # and not what jgmm has for users' small programs


def as_users_do():
    """The environment without what `set_flags` has set."""
    return {name: value for name, value in os.environ.items() if (name, value) != ("XLA_FLAGS", FLAGS)}
