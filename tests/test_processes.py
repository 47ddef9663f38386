"""Several processes, each with batches of its own, and one checkpoint: one of them killed costs nothing. Slow."""

import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from values import assert_same

import jgmm

CHILD = """
import sys, time
import jax, jax.numpy as jnp, numpy as np
number, port, folder, pause = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{port}", 2, number)
import jgmm
mine = np.load(f"{folder}/rows.npy", mmap_mode="r")[slice(0, 90) if number == 0 else slice(90, None)]

def batches():
    for part in np.array_split(mine, 3):
        time.sleep(pause)
        yield jgmm.spread(part)

means = jnp.array([[-1.0, 0.0], [1.0, 0.5]])
start = jgmm.GMM(jnp.full(2, 0.5), means, jgmm.Full(jnp.tile(jnp.eye(2), (2, 1, 1))))
result = jgmm.em_stream(start, batches, max_steps=8, stop=jgmm.LogProbStop(0.0), checkpoint=f"{folder}/state.npz",
    accelerate="anderson", progress=lambda now: print(now["sweep"], flush=True))
jgmm.save(f"{folder}/end{number}.npz", result)
"""


def start_both(folder, pause=0.0):
    """Two processes that find each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    env = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(jgmm.__file__).parents[1])}
    command = [sys.executable, "-c", CHILD]
    return [
        subprocess.Popen([*command, str(i), str(port), str(folder), str(pause)], env=env, stdout=subprocess.PIPE)
        for i in range(2)
    ]


def finish(folder):
    """The results of both, run to the end."""
    for process in start_both(folder):
        process.communicate(timeout=120)
        assert process.returncode == 0
    return [jgmm.load(folder / f"end{i}.npz") for i in range(2)]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.parametrize("which", [0, 1])
def test_one_of_two_processes_is_killed_and_nothing_is_lost(which, tmp_path):
    rng, moments = np.random.default_rng(0), random.Random(which)
    rows = rng.normal(size=(200, 2)) + rng.choice([-1.5, 1.5], size=(200, 1))
    ends = []
    for name, kills in ("whole", 0), ("killed", 3):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "rows.npy", rows)
        for _ in range(kills):
            both = start_both(folder, pause=0.05)
            both[0].stdout.readline()  # a sweep is done
            time.sleep(moments.uniform(0, 0.3))
            both[which].kill()
            time.sleep(0.2)
            both[1 - which].kill()  # it waits for the other
            for process in both:
                process.communicate(timeout=60)
        ends += finish(folder)
    for end in ends[1:]:
        assert_same(end, ends[0])
