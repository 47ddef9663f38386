"""Rows on a disk, larger than memory: what a sweep takes, and the most memory that the process ever has.

    python tests/benchmarks/stream.py [ROWS [FEATURES [COMPONENTS]]]          5e7 40 8 are 8 GB of float32

Rows of random blobs are written to a file in the folder for temporary files (TMPDIR). Each line is a process of its
own: `em_stream` on the file's memory map in batches of 100,000 rows, `em` on the array in memory, one iteration of
scikit-learn on it, and one reading of the file. "sweep": seconds of one EM iteration after the first,
which compiles. "peak": resident memory at its most, by the kernel's account. The arrays are left out where they would
not fit into a third of the memory.
"""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

TITLE = "Rows on a disk"
SIZE = 100_000
STEPS = 3


def start(rows, k):
    """A mixture to start from."""
    import jgmm

    d = rows.shape[1]
    return jgmm.GMM(np.full(k, 1 / k, "float32"), rows[:k], jgmm.Full(np.tile(np.eye(d, dtype="float32"), (k, 1, 1))))


def em_stream(rows, k):
    """Seconds of a sweep."""
    import jgmm

    seconds = []
    tell = lambda done: seconds.append(done["seconds"])  # noqa: E731
    jgmm.em_stream(start(rows, k), jgmm.batches(rows, SIZE), max_steps=STEPS, progress=tell)
    return float(np.median(seconds[1:]))


def em(rows, k):
    """Seconds of a sweep of the array."""
    import jax

    import jgmm

    X, params = jax.numpy.asarray(np.array(rows)), start(rows, k)
    call = lambda steps: jgmm.em(params, X, max_steps=steps, stop=jgmm.LogProbStop(0.0)).params.means  # noqa: E731
    call(1).block_until_ready()
    seconds = []
    for steps in (1, 1 + STEPS):
        begin = time.perf_counter()
        call(steps).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    return (seconds[1] - seconds[0]) / STEPS


def scikit_learn(rows, k):
    """Seconds of one iteration, the start included."""
    import warnings

    from sklearn.mixture import GaussianMixture

    warnings.simplefilter("ignore")
    X = np.array(rows)
    model = GaussianMixture(k, max_iter=1, means_init=X[:k], init_params="random_from_data")
    begin = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - begin


def reading(rows, k):
    """Seconds to read the file once."""
    import jgmm

    begin = time.perf_counter()
    for batch in jgmm.batches(rows, SIZE):
        np.array(batch)
    return time.perf_counter() - begin


WAYS = {"em_stream": em_stream, "em": em, "scikit-learn": scikit_learn, "reading": reading}


def write(path, n, d, k):
    rng = np.random.default_rng(0)
    centers = 3 * rng.normal(size=(k, d))
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (n, d)})
        for first in range(0, n, SIZE):
            size = min(SIZE, n - first)
            (centers[rng.integers(k, size=size)] + rng.normal(size=(size, d))).astype("<f4").tofile(file)


def peak():
    """The most memory that this process ever had, bytes."""
    with open("/proc/self/status") as file:  # `getrusage` counts the process that started this one
        return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])


def measured(path, way, k):
    """(seconds, peak in bytes) of a process of its own."""
    done = subprocess.run([sys.executable, __file__, "one", way, path, str(k)], stdout=subprocess.PIPE, text=True)
    return map(float, done.stdout.split())


def table(n, d, k):
    """The rows of the table for so many rows, features and components."""
    fits = 4 * n * d < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 3
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.npy")
        write(path, n, d, k)
        for way in WAYS if fits else ("em_stream", "reading"):
            seconds, most = measured(path, way, k)
            sizes = {"n, d, k": f"{n}, {d}, {k}", "data MB": 4 * n * d / 1e6}
            yield {"what": way} | sizes | {"sweep s": seconds, "rows a second": n / seconds, "peak MB": most / 1e6}


def rows(quick):
    """The table of `run.py`."""
    return table(200_000 if quick else 2_000_000, 40, 8)


def main():
    if sys.argv[1:2] == ["one"]:
        _, _, way, path, k = sys.argv
        seconds = WAYS[way](np.load(path, mmap_mode="r"), int(k))
        print(seconds, peak())
        return
    from run import print_table

    given = [int(float(value)) for value in sys.argv[1:]]
    print_table(TITLE, table(*given, *(2_000_000, 40, 8)[len(given) :]))


if __name__ == "__main__":
    main()
