"""What first calls cost, in fresh processes with nothing cached on disk.

"first calls": CPU seconds of the first call of each program with values (tracing, compiling, one run), the sum over
the four families and both dtypes. "kernels": what XLA makes of it (full covariances, float32), called with values of
little work / inside ``jit``. "process start to a finished fit": `fit(key, X, 3)` on 1000 x 2 rows of float32, from
before the process is made to a fit that is ready, the median of three processes (quick: one); "cached": found in JAX's
compilation cache on disk. Then, in this process, what comes after a first fit: rows of another number, another k.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from alone import alone

import jgmm

sys.path.append(str(Path(__file__).parents[1]))
from programs import fusions, programs

TITLE = "First calls"
SIZES = (150, 4, 3), (8192, 8, 8), (1000, 20, 5)
FAMILIES = "full", "tied", "diag", "spherical"
FRESH = {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_ENABLE_X64": "false"}  # the environment: nothing is compiled

WHOLE = """
import time, jax, jgmm, numpy as np
rng = np.random.default_rng(0)
X = (np.array([[-4, 0], [4, 0], [0, 5]])[rng.integers(3, size=1000)] + rng.normal(size=(1000, 2))).astype("float32")
jax.block_until_ready(jgmm.fit(jax.random.key(0), X, 3))
print(time.time())
"""


def first_calls(n, d, k):
    """CPU seconds of each program's first call in this process, the sum over the families."""
    dtype = "float64" if jax.config.jax_enable_x64 else "float32"
    seconds = {}
    for cov in FAMILIES:
        for name, (function, arguments) in programs(n, d, k, cov, dtype).items():
            jax.block_until_ready(arguments)
            begin = time.process_time()
            jax.block_until_ready(function(*arguments))
            seconds[name] = seconds.get(name, 0) + time.process_time() - begin
    return seconds


def row(what, value, unit="s"):
    return {"what": what, "value": value, "unit": unit}


def whole(repeats, **env):
    """Seconds from before a process is made to a finished fit."""
    seconds = []
    for _ in range(repeats):
        start = time.time()  # the clock that two processes share
        done = subprocess.run(
            [sys.executable, "-c", WHOLE], env=os.environ | FRESH | env, check=True, stdout=subprocess.PIPE
        )
        seconds.append(float(done.stdout) - start)
    return statistics.median(seconds)


def afterwards():
    """Seconds, and the programs compiled, of calls after a first one."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    key = jax.random.key(0)
    X, fewer = (np.random.default_rng(n).normal(size=(n, 2)).astype("float32") for n in (1000, 900))
    jax.block_until_ready(jgmm.fit(key, X, 3, max_components=8))
    calls = {
        "the same again": lambda: jgmm.fit(key, X, 3, max_components=8),
        "900 rows instead of 1000": lambda: jgmm.fit(key, fewer, 3, max_components=8),
        "4 components of max_components=8 instead of 3": lambda: jgmm.fit(key, X, 4, max_components=8),
        "4 components, without": lambda: jgmm.fit(key, X, 4),
    }
    for name, call in calls.items():
        before, start = len(compiled), time.perf_counter()
        jax.block_until_ready(call())
        yield row(f"{name}: {len(compiled) - before} programs compiled", time.perf_counter() - start)


def rows(quick):
    from jgmm._base.programs import CHEAP

    repeats = 1 if quick else 3
    yield row("process start to a finished fit", whole(repeats))
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        cache["JAX_ENABLE_COMPILATION_CACHE"] = "true"
        whole(1, **cache)
        yield row("process start to a finished fit, cached", whole(repeats, **cache))
    yield from afterwards()
    for name, (function, arguments) in programs(*SIZES[0]).items():
        small, inside = (fusions(function, arguments, options) for options in (CHEAP, None))
        yield row(f"kernels: {name}", f"{small} / {inside}", "")
    for size in SIZES[:1] if quick else SIZES:
        parts = [alone(first_calls, *size, **FRESH | {"JAX_ENABLE_X64": double}) for double in ("false", "true")]
        for name in parts[0]:
            yield row(f"first calls of {size[0]} x {size[1]}, k {size[2]}: {name}", sum(part[name] for part in parts))
