"""What a first fit costs: `fit(key, X, 3)` on 1000 x 2 rows of float32, in fresh processes, nothing cached on disk.

"process start to a finished fit": from before the process is made to a fit that is ready, the median of three
processes (quick: one). The parts are taken in another process, each once: import, tracing
(``jax.jit(...).lower``), compilation (``.compile()``), one run of the compiled program.

Then, in this process, a second data set of 900 rows: as it is, a new shape that is compiled anew; and padded
to 1000 rows, 100 of weight zero. "programs compiled" counts all that XLA compiled in that call. Their fits
start differently; so what padding changes is read off `em` from one start, in the mean log-likelihood.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import jax
import numpy as np

import jgmm

TITLE = "The first fit"

BEGIN = """
import json, sys, time
begin = time.perf_counter()
import jax, jgmm
imported = time.perf_counter() - begin
import numpy as np
rng = np.random.default_rng(0)
X = (np.array([[-4, 0], [4, 0], [0, 5]])[rng.integers(3, size=1000)] + rng.normal(size=(1000, 2))).astype("float32")
accelerate = json.loads(sys.argv[1])
"""

WHOLE = """
jax.block_until_ready(jgmm.fit(jax.random.key(0), X, 3, accelerate=accelerate))
print(time.time())
"""

PARTS = """
data = jax.block_until_ready((jax.random.key(0), jax.device_put(X)))
seconds = {"import of jax and jgmm": imported}
def timed(name, call):
    begin = time.perf_counter()
    out = call()
    seconds[name] = time.perf_counter() - begin
    return out
fit = jax.jit(lambda key, X: jgmm.fit(key, X, 3, accelerate=accelerate))
lowered = timed("tracing", lambda: fit.lower(*data))
compiled = timed("compilation", lowered.compile)
jax.block_until_ready(compiled(*data))
timed("one run of the compiled program", lambda: jax.block_until_ready(compiled(*data)))
print(json.dumps(seconds))
"""


def child(program, accelerate):
    """What the program prints, as JSON, run in a process that finds nothing compiled."""
    env = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_ENABLE_X64": "false"}
    command = [sys.executable, "-c", BEGIN + program, json.dumps(accelerate)]
    return json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


def whole(accelerate):
    start = time.time()  # the clock that two processes share
    return child(WHOLE, accelerate) - start


def row(what, value, unit="s"):
    return {"what": what, "value": value, "unit": unit}


def timed(compilations, call):
    """Seconds of a call, and how many programs were compiled in it."""
    before, start = len(compilations), time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start, len(compilations) - before


def another_length():
    compilations = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compilations.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    key = jax.random.key(0)
    many, X = (np.random.default_rng(n).normal(size=(n, 2)).astype("float32") for n in (1000, 900))
    padded, weight = np.pad(X, ((0, 100), (0, 0))), np.repeat(np.float32([1, 0]), (900, 100))
    jax.block_until_ready(jgmm.fit(key, many, 3))
    for name, rows, weights in (("900 rows", X, None), ("900 rows padded to 1000", padded, weight)):
        seconds, count = timed(compilations, lambda rows=rows, w=weights: jgmm.fit(key, rows, 3, sample_weight=w))
        yield row(f"a second data set, {name}", seconds)
        yield row(f"a second data set, {name}: programs compiled", count, "")
    start = jgmm.init.kmeans(key, X, 3)
    alone, among = jgmm.em(start, X, max_steps=50), jgmm.em(start, padded, weight, max_steps=50)
    yield row("what padding changes in em", abs(float(alone.mean_log_prob - among.mean_log_prob)), "nats a row")


def rows(quick):
    for accelerate in ("anderson", None):
        name = "" if accelerate else ", accelerate=None"
        seconds = [whole(accelerate) for _ in range(1 if quick else 3)]
        yield row(f"process start to a finished fit{name}", statistics.median(seconds))
        yield from (row(part + name, value) for part, value in child(PARTS, accelerate).items())
    yield from another_length()
