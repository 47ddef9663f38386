"""What an accelerator makes of it: every kernel against float64 NumPy, then large sweeps, beside PyTorch.

    python tests/benchmarks/accelerator.py [--scale 100]     a hundredth of the rows, to rehearse on a CPU

Correctness: an E-step of each family, by the two kernels (products of features, and whitened rows), in float32, against
the same sums in float64 NumPy; the error is relative to the largest number of its kind. Matrix products run at the
precision that jgmm sets itself, "highest" where covariances are formed.

Sweeps: one `e_step` (float32), compiled, the median of five. "share" is the arithmetic that must be done, 4 n k p
operations for p features of a row, over the time, as a share of the rate of a 2048 x 2048 product at "highest". Beside
it the same E-step in PyTorch, if it is installed, with matrix products at its own "highest" (no TF32).

Fit: 1e6 rows of 16 features, k = 32, 64 starts that all run ten steps side by side, and the best to convergence.
"""

import argparse
import importlib.util
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from common import FAMILIES, median_time, product_rate

import jgmm

SWEEPS = [
    ("spherical", 1_000_000, 128, 1024),
    ("diag", 1_000_000, 128, 1024),
    ("full", 1_000_000, 64, 64),
    ("full", 10_000_000, 8, 8),
]
PARTS = {"full": lambda d: d * (d + 1) / 2 + d, "diag": lambda d: 2 * d, "spherical": lambda d: d + 1}


def blobs(n, d, k, cov):
    """Rows of k blobs, made on the device, and a mixture near them."""
    keys = jax.random.split(jax.random.key(0), 4)
    centers = 3 * jax.random.normal(keys[0], (k, d), jnp.float32)
    group = jax.random.randint(keys[1], (n,), 0, k)
    X = centers[group] + jax.random.normal(keys[2], (n, d), jnp.float32)
    means = centers + 0.5 * jax.random.normal(keys[3], (k, d), jnp.float32)
    return X, jgmm.GMM(jnp.full(k, 1 / k, jnp.float32), means, FAMILIES[cov](k, d, np.float32))


def reference(params, X):
    """Weight, shift, scatter (diagonal, or as the family has it) and log-likelihood in float64 NumPy."""
    X, means, weights = (np.asarray(part, np.float64) for part in (X, params.means, params.weights))
    covariances = np.asarray(params.covariances, np.float64)
    diff = X[:, None] - means[None]
    whitened = np.linalg.solve(np.linalg.cholesky(covariances)[None], diff[..., None])[..., 0]
    log_det = np.linalg.slogdet(covariances)[1]
    joint = np.log(weights) - (np.log(2 * np.pi) * X.shape[1] + log_det + (whitened**2).sum(-1)) / 2
    top = joint.max(1, keepdims=True)
    log_prob = top + np.log(np.exp(joint - top).sum(1, keepdims=True))
    resp = np.exp(joint - log_prob)
    scatter = np.einsum("nk,nki,nkj->kij", resp, diff, diff)
    return resp.sum(0), np.einsum("nk,nki->ki", resp, diff), scatter, log_prob.sum()


def like(scatter, found):
    """A scatter (k, d, d) in the form in which a family collects it."""
    if found.ndim == 3:
        return scatter if found.shape[0] == scatter.shape[0] else scatter.sum(0, keepdims=True)
    variances = np.diagonal(scatter, axis1=1, axis2=2)
    return variances if found.ndim == 2 and found.shape[1] > 1 else variances.sum(-1).reshape(found.shape)


def correctness():
    """The error of each kernel; the tight mixture is beyond the bound of the fast one."""
    for cov in FAMILIES:
        for width in (1.0, 1e-3):
            X, params = blobs(2000, 8, 4, cov)
            X = params.means[0] + width * (X - params.means[0])
            means = params.means[0] + width * (params.means - params.means[0])
            means = means.at[-1].add(30.0)
            params = jgmm.GMM(params.weights, means, jgmm.affine(params, width).cov)
            stats = jax.jit(jgmm.e_step)(params, X)
            weight, shift, scatter, log_prob = reference(params, X)
            pairs = [(stats.weight, weight), (stats.shift, shift), (stats.log_prob, log_prob)]
            pairs.append((stats.scatter, like(scatter, stats.scatter)))
            error = max(float(np.abs(np.asarray(a) - b).max() / np.abs(b).max()) for a, b in pairs)
            yield {"family": cov, "width": width, "error": error}


def torch_sweep(X, params, cov):
    """The seconds of the same E-step in PyTorch, or ``None`` without it: products of features, in slices of rows."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    torch.set_float32_matmul_precision("highest")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    X, means, weights = (torch.tensor(np.asarray(part), device=device) for part in (X, params.means, params.weights))
    k, d = means.shape
    precisions = torch.tensor(np.linalg.inv(np.asarray(params.covariances)), device=device)
    log_det = torch.logdet(precisions)
    upper = torch.triu_indices(d, d, device=device)
    quadratic = -0.5 * precisions
    quadratic = quadratic + torch.triu(quadratic, 1) + torch.tril(quadratic, -1)  # each pair of features once
    linear = torch.einsum("kij,kj->ki", precisions, means)
    constant = weights.log() + 0.5 * (log_det - (linear * means).sum(-1) - d * np.log(2 * np.pi))
    slice_rows = max(1, 2**27 // (max(k, d * (d + 1) // 2 if cov == "full" else d)))

    def features(rows):
        return torch.cat([rows[:, upper[0]] * rows[:, upper[1]] if cov == "full" else rows * rows, rows], 1)

    square = quadratic[:, upper[0], upper[1]] if cov == "full" else torch.diagonal(quadratic, dim1=1, dim2=2)
    eta = torch.cat([square, linear], 1).T.contiguous()

    def sweep():
        total = 0
        for rows in X.split(slice_rows):
            seen = features(rows)
            resp = torch.softmax(seen @ eta + constant, 1)
            total = total + resp.T @ seen
        if device == "cuda":
            torch.cuda.synchronize()
        return total

    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        sweep()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[1:]))


def sweeps(scale):
    rate = product_rate("float32")
    for cov, n, d, k in SWEEPS:
        X, params = blobs(n // scale, d, k, cov)
        run = jax.jit(jgmm.e_step)
        jax.block_until_ready(run(params, X))
        seconds = median_time(partial(run, params, X))
        row = {"family": cov, "n, d, k": f"{len(X)}, {d}, {k}", "jgmm ms": 1e3 * seconds}
        row["share"] = 4 * len(X) * k * PARTS[cov](d) / seconds / rate
        theirs = torch_sweep(X, params, cov)
        yield row | {"PyTorch ms": "" if theirs is None else 1e3 * theirs}


def whole_fit(scale):
    X, _ = blobs(1_000_000 // scale, 16, 32, "full")
    call = lambda seed: jgmm.fit(jax.random.key(seed), X, 32, num_init=64, race=((10, 1),))  # noqa: E731
    begin = time.perf_counter()
    jax.block_until_ready(call(0))
    first = time.perf_counter() - begin
    seconds = median_time(lambda: call(1), 1)
    result = call(1)
    yield {
        "n, d, k": f"{len(X)}, 16, 32",
        "first call s": first,
        "next call s": seconds,
        "status": jgmm.Status(int(result.status)).name,
        "mean log-likelihood": float(result.mean_log_prob),
    }


def main():
    from run import print_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=1, help="so many times fewer rows")
    scale = parser.parse_args().scale
    print(f"{jax.devices()[0].device_kind}, {jax.default_backend()}, jax {jax.__version__}")
    print_table("Correctness", correctness())
    print_table("One E-step", sweeps(scale))
    print_table("A fit", whole_fit(scale))


if __name__ == "__main__":
    main()
