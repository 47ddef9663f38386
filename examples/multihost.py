"""Fit one mixture to rows that lie on several hosts: each process reads its own part, and only sums travel.

    python examples/multihost.py --processes 2      starts two processes on this machine
    srun python examples/multihost.py --cluster     on a cluster, where each process is started for us

The processes find each other by ``jax.distributed``, and `jgmm.spread` makes one array of the rows that each of them
has read. From there on everything is as with one process: all call the same functions with the same arguments.
"""

# %% The arguments, before the slow imports.
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from arguments import Parser, count, file

parser = Parser(description="Fit a mixture to rows that several processes have read.")
parser.add_argument("--processes", metavar="N", type=count, default=2, help="start so many here (default: %(default)s)")
parser.add_argument("--cluster", action="store_true", help="a cluster has started this process, and the others")
parser.add_argument("--data", metavar="FILE", type=file, help=".npy of rows (n, d) that all can read; else made here")
parser.add_argument("--rows", metavar="N", type=count, default=200_000, help="rows to make (default: %(default)s)")
parser.add_argument("-k", metavar="K", type=count, default=8, help="components (default: %(default)s)")
parser.add_argument("--save", metavar="FILE", help="where the result goes, for jgmm.load")
parser.add_argument("--part", metavar="I:PORT", help="which of the processes this is; set by the one that starts them")
args = parser.parse()


# %% The one that starts the others makes the rows, and waits. It imports neither JAX nor jgmm.
def make_rows(path, num_rows, num_features=8, num_groups=8):
    """A file of float32 rows: groups of different sizes and widths, which overlap."""
    import numpy as np

    rng = np.random.default_rng(0)
    centers, widths = 3 * rng.normal(size=(num_groups, num_features)), rng.uniform(0.5, 2, num_groups)
    group = rng.choice(num_groups, num_rows, p=rng.dirichlet(np.full(num_groups, 5.0)))
    rows = centers[group] + widths[group, None] * rng.normal(size=(num_rows, num_features))
    np.save(path, rows.astype(np.float32))


def start_processes(data):
    """Run this program once for each process; the exit status is that of the first one that failed, or 0."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--processes", str(args.processes), "--data", str(data), "-k", str(args.k)]
    command += ["--save", args.save] if args.save else []
    env = os.environ | {"JAX_PLATFORMS": "cpu"}  # which they can share
    running = [subprocess.Popen([*command, "--part", f"{i}:{port}"], env=env) for i in range(args.processes)]
    try:
        while None in (codes := [process.poll() for process in running]) and not any(codes):
            time.sleep(0.1)
        return next((code for code in codes if code), 0)
    finally:
        for process in running:
            process.kill()  # one that has lost another would wait for it


if not args.part and not args.cluster:
    with tempfile.TemporaryDirectory() as folder:
        if not args.data:
            make_rows(Path(folder) / "rows.npy", args.rows)
        sys.exit(start_processes(args.data or Path(folder) / "rows.npy"))

# %% Each process finds the others, before anything else asks for a device.
import jax
import numpy as np

if args.cluster:
    jax.distributed.initialize()  # Slurm, Cloud TPU and Open MPI say who is who; elsewhere give it the three arguments
elif args.processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    number, port = args.part.split(":")
    jax.distributed.initialize(f"localhost:{port}", args.processes, int(number))

import jgmm

# %% Each process reads its own part of the rows. A memory map reads nothing else.
index, number_of = jax.process_index(), jax.process_count()
rows = np.load(args.data, mmap_mode="r")
mine = rows[len(rows) * index // number_of : len(rows) * (index + 1) // number_of]
X, sample_weight = jgmm.spread(mine)


def say(text):
    """Print once, not once for each process."""
    if index == 0:
        print(text, flush=True)


say(f"{len(rows)} rows, {rows.shape[1]} features; processes: {number_of}, devices: {jax.device_count()}")

# %% The fit. Every process gets the whole result.
begin = time.perf_counter()
result = jgmm.fit(jax.random.key(0), X, args.k, sample_weight=sample_weight)
say(f"{result}\n{time.perf_counter() - begin:.1f} s with compilation")
say(f"weights {np.sort(np.asarray(result.params.weights)).round(4)}")


# %% What an iteration costs, and what travels: the statistics, whatever the number of rows.
start = jgmm.init.random_points(jax.random.key(1), X, args.k, sample_weight=sample_weight)


def iterations(steps):
    """The seconds of so many EM steps."""
    begin = time.perf_counter()
    jax.block_until_ready(jgmm.em(start, X, sample_weight, stop=jgmm.LogProbStop(0.0), max_steps=steps))
    return time.perf_counter() - begin


iterations(1)
seconds = (iterations(11) - iterations(1)) / 10
sent = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(result.stats)) - result.stats.center.nbytes
say(f"an iteration: {1e3 * seconds:.1f} ms, {sent} bytes of sums from each process")

# %% One process writes.
if args.save and index == 0:
    jgmm.save(args.save, result)
