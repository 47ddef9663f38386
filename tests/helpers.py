"""What the tests share: tolerances, messages, random mixtures and data, the families, how an example is run."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler import as_users_do

import jgmm

DATA = Path(__file__).parent / "data"
EXAMPLES = Path(__file__).parents[1] / "examples"
FAMILIES = ["full", "tied", "diag", "spherical"]  # a new family is one entry here
EIGEN = ["EII", "EEI", "VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"]  # those whose components share something
LOWRANK = {
    "lowrank": jgmm.lowrank(1),
    "lowrank, spherical": jgmm.lowrank(1, noise="spherical"),
    "lowrank, wide": jgmm.lowrank(1, wide=True),
}
N, D, K = 23, 2, 3  # of `case`; 23 is a multiple of no chunk size that a test asks for


def tolerance(dtype, loss=1.0):
    """Relative tolerance: a few hundred roundings, times the ``loss`` of digits that a test expects."""
    return {"float32": 3e-5, "float64": 3e-13}[np.dtype(dtype).name] * loss


def close(actual, expected, dtype, loss=1.0, scale=None):
    """Compare pytrees or arrays, relative to each array's largest entry (or to ``scale``)."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        size = scale if scale is not None else np.max(np.abs(b), initial=1e-30)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance(dtype, loss) * size)


def raises(error, parts, function, *args, **kwargs):
    """Assert that a call raises ``error`` with every one of the ``parts`` in its message."""
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"


def random_data(seed, n, d, k, dtype="float64", separation=3.0):
    """Rows from k Gaussian blobs with correlated features, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    centers = separation * rng.normal(size=(k, d))
    mixing = rng.normal(size=(k, d, d)) / np.sqrt(d) + np.eye(d)
    X = centers[labels] + np.einsum("nij,nj->ni", mixing[labels], rng.normal(size=(n, d)))
    return jnp.asarray(X, dtype), labels


def random_gmm(seed, k, d, cov, dtype="float64"):
    """A mixture of the family ``cov`` with well-conditioned covariances."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, d, d)) / np.sqrt(d) + 1.5 * np.eye(d)
    dense = root @ root.transpose(0, 2, 1)
    var, axes = np.diagonal(dense, axis1=1, axis2=2), np.linalg.eigh(dense)[1]
    values = {
        "full": lambda: jgmm.Full(dense),
        "tied": lambda: jgmm.Tied(dense[0]),
        "diag": lambda: jgmm.Diag(var),
        "spherical": lambda: jgmm.Spherical(var[:, 0]),
        "EII": lambda: jgmm.EII(var[0, 0]),
        "EEI": lambda: jgmm.EEI(var[0]),
        "VEI": lambda: jgmm.VEI(var[:, 0], var[0]),
        "EVI": lambda: jgmm.EVI(var[0, 0], var),
        "VEE": lambda: jgmm.VEE(var[:, 0], dense[0]),
        "EVE": lambda: jgmm.EVE(axes[0], jgmm.EVI(var[0, 0], var)),
        "VVE": lambda: jgmm.VVE(axes[0], jgmm.Diag(var)),
        "EEV": lambda: jgmm.EEV(axes, jgmm.EEI(var[0])),
        "VEV": lambda: jgmm.VEV(axes, jgmm.VEI(var[:, 0], var[0])),
        "EVV": lambda: jgmm.EVV(var[0, 0], dense),
        "lowrank": lambda: jgmm.LowRank(root[:, :, :1], jgmm.Diag(var)),
        "lowrank, spherical": lambda: jgmm.LowRank(root[:, :, :1], jgmm.Spherical(var[:, 0])),
        "lowrank, wide": lambda: jgmm.LowRank(root[:, :, :1], jgmm.Diag(var), wide=True),
    }[cov]()
    return jgmm.GMM(rng.dirichlet(np.full(k, 5.0)), 2 * rng.normal(size=(k, d)), values).astype(dtype)


@functools.cache
def case(seed=0, cov="full", dtype="float64"):
    """Everything that a public function may ask for: key, params, X, sample_weight."""
    weight = np.random.default_rng(seed).uniform(0.5, 2, N)
    X = random_data(seed, N, D, K, dtype)[0]
    return jax.random.key(seed), random_gmm(seed, K, D, cov, dtype), X, jnp.asarray(weight, dtype)


def run_example(name, *arguments, cwd, ignore=(), code=0, own_options=False):
    """What an example prints, run as a user runs it: in a process of its own, warnings as errors, no display.

    Args:
        name: of the script in examples/, without ".py".
        *arguments: of the script.
        cwd: the folder that it runs in.
        ignore: filters of warnings that other packages raise, as ``-W`` takes them (message:category:module).
        code: the return code that it has to end with.
        own_options: compile as users do, and not as the tests do.
    """
    environment = as_users_do() if own_options else os.environ
    env = {name: value for name, value in environment.items() if name != "MPLBACKEND"}
    package = str(Path(jgmm.__file__).parents[1])  # the one under test, installed or not
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package, env.get("PYTHONPATH")]))
    filters = [f"-W{warning}" for warning in ("error", *(f"ignore:{filter}" for filter in ignore))]
    command = [sys.executable, *filters, EXAMPLES / f"{name}.py", *arguments]
    done = subprocess.run([*map(str, command)], env=env, cwd=cwd, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Breaking:
    """Batches of rows whose reader fails at the given one of all that are ever read."""

    def __init__(self, rows, at):
        self.rows, self.at, self.read = rows, at, 0

    def __iter__(self):
        for batch in jgmm.batches(self.rows, 7):
            if self.read == self.at:
                raise OSError("cut")
            self.read += 1
            yield batch


def known_moments(stats, ridge):
    """Weight and scatter of the components, with the ridge: known numbers, for use under ``jit``."""
    scatter = stats.recenter(stats.mean).scatter + stats.weight[:, None, None] * np.diag(ridge)[None]
    return np.asarray(stats.weight), np.asarray(scatter)


def penalised(covariances, weight, scatter):
    """The part of the expected log-likelihood that covariances have, with what the ridge takes off."""
    traces = jnp.trace(jnp.linalg.solve(covariances, scatter), axis1=1, axis2=2)
    return -(weight * jnp.linalg.slogdet(covariances)[1] + traces).sum() / 2


def check_picture(printed, picture):
    """Raise unless an example says where its picture is, and it is small, drawn, and not cut off."""
    from matplotlib import image  # most files that import this one draw nothing

    assert printed.rstrip().endswith(f"Picture: {picture}")
    assert picture.stat().st_size < 200_000
    pixels = image.imread(picture)[..., :3]
    assert pixels.shape[1] <= 1200
    drawn = (pixels < 0.95).any(-1)
    assert 0.02 < drawn.mean() < 0.5
    assert not drawn[[0, -1]].any()
    assert not drawn[:, [0, -1]].any()
