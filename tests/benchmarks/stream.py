"""Rows on a disk, larger than memory: what a sweep takes, and the most memory that the process ever has.

    python tests/benchmarks/stream.py [ROWS [FEATURES [COMPONENTS]]]          5e7 40 8 are 8 GB of float32

Rows of random blobs are written to a file in the folder for temporary files (TMPDIR). Each line is a process of its
own: `em_stream` on the file's memory map in batches of 100,000 rows, one reading of the file, and the peers that are
installed and take batches: pomegranate's sums, torchgmm. Then `em` on the array in memory, and the peers that need it:
one iteration of scikit-learn, and gmmx. "sweep": seconds of one EM iteration after the first, which compiles. "peak":
resident memory at its most, by the kernel's account. The arrays are left out where they would not fit into a third of
the memory. torchgmm reads the array as a whole too, though it learns from batches.
"""

import importlib.util
import os
import sys
import tempfile
import time
import warnings

import numpy as np
from alone import alone

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
    stop = jgmm.LogProbStop(0.0)
    fit = lambda steps: jax.block_until_ready(jgmm.em(params, X, max_steps=steps, stop=stop))  # noqa: E731
    return longer(fit, compiled=True)


def scikit_learn(rows, k):
    """Seconds of one iteration, the start included."""
    from sklearn.mixture import GaussianMixture

    X = np.array(rows)
    model = GaussianMixture(k, max_iter=1, means_init=X[:k], init_params="random_from_data")
    begin = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - begin


def gmmx(rows, k):
    """Seconds of a sweep of the array."""
    import jax
    from gmmx import EMFitter, GaussianMixtureModelJax

    X, params = jax.numpy.asarray(np.array(rows)), start(rows, k)
    mixture = GaussianMixtureModelJax.from_squeezed(params.means, params.cov.cov, params.weights)
    fit = lambda steps: jax.block_until_ready(EMFitter(tol=0.0, max_iter=steps).fit(X, mixture))  # noqa: E731
    return longer(fit, compiled=True)


def torchgmm(rows, k):
    """Seconds of an iteration in batches, which is two passes."""
    import torch
    from torchgmm.bayes import GaussianMixture

    X = torch.from_numpy(np.array(rows))

    def fit(steps):
        options = {"init_means": X[:k], "convergence_tolerance": 0, "trainer_params": {"max_epochs": steps}}
        GaussianMixture(k, covariance_type="full", batch_size=SIZE, **options).fit(X)

    return longer(fit)


def pomegranate(rows, k):
    """Seconds of a sweep of the memory map."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    begin = start(rows, k)
    parts = zip(torch.from_numpy(np.array(begin.means)), torch.from_numpy(begin.cov.cov), strict=True)
    model, seconds = GeneralMixtureModel([Normal(mean, cov) for mean, cov in parts]), []
    for _ in range(1 + STEPS):
        begin = time.perf_counter()
        for first in range(0, len(rows), SIZE):
            model.summarize(torch.from_numpy(np.array(rows[first : first + SIZE])))
        model.from_summaries()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[1:]))


def longer(fit, compiled=False):
    """Seconds of a step: what ``fit(1 + STEPS)`` takes more than ``fit(1)``."""
    seconds = []
    for steps in (1, 1 + STEPS):
        if compiled:
            fit(steps)
        begin = time.perf_counter()
        fit(steps)
        seconds.append(time.perf_counter() - begin)
    return (seconds[1] - seconds[0]) / STEPS


def reading(rows, k):
    """Seconds to read the file once."""
    import jgmm

    begin = time.perf_counter()
    for batch in jgmm.batches(rows, SIZE):
        np.array(batch)
    return time.perf_counter() - begin


BATCHES = {"em_stream": em_stream, "reading": reading, "pomegranate": pomegranate}
ARRAYS = {"em": em, "scikit-learn": scikit_learn, "gmmx": gmmx, "torchgmm": torchgmm}
PEERS = "pomegranate", "gmmx", "torchgmm"


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


def measured(way, path, k):
    """Seconds, and the peak in bytes; in this process."""
    warnings.simplefilter("ignore")
    return (BATCHES | ARRAYS)[way](np.load(path, mmap_mode="r"), k), peak()


def table(n, d, k):
    """The rows of the table for so many rows, features and components."""
    fits = 4 * n * d < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 3
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.npy")
        write(path, n, d, k)
        for way in BATCHES | ARRAYS if fits else BATCHES:
            if way in PEERS and not importlib.util.find_spec(way):
                continue
            seconds, most = alone(measured, way, path, k)
            sizes = {"n, d, k": f"{n}, {d}, {k}", "data MB": 4 * n * d / 1e6}
            yield {"what": way} | sizes | {"sweep s": seconds, "rows a second": n / seconds, "peak MB": most / 1e6}


def rows(quick):
    """The table of `run.py`."""
    return table(200_000 if quick else 2_000_000, 40, 8)


def main():
    from run import print_table

    given = [int(float(value)) for value in sys.argv[1:]]
    print_table(TITLE, table(*given, *(2_000_000, 40, 8)[len(given) :]))


if __name__ == "__main__":
    main()
