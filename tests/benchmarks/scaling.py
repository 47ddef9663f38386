"""How time and memory grow: rows, components, and what one density of one point costs in a compiled loop.

"EM iteration": float32, full covariances; the median of five calls of `em` with six steps less that of one
step, over five. "memory": temporary bytes of the compiled program, by XLA's own account, beside the bytes of
the rows; no data are made for it. "log_prob" and "its gradient": 1000 calls on a single point inside one
``fori_loop``, each on what the last one moved, so that none can be left out; beside it the time of one
factorisation of the covariances (compiled, alone, with what it takes to call it). "Cholesky in the loop" says
whether XLA left that factorisation inside the loop: read off the compiled program.
"""

import re

import jax
from common import median_time, problem

import jgmm

TITLE = "Scaling"
COLUMNS = ["what", "n, d, k", "µs", "ns a row", "temporary MB", "data MB", "factorisation µs", "Cholesky in the loop"]
CALLS = 1000
CHOLESKY = r'custom_call_target="[^"]*potrf|\bcholesky\('  # LAPACK's and cuSOLVER's name, and XLA's own


def row(what, n, d, k, **values):
    return dict.fromkeys(COLUMNS, "") | {"what": what, "n, d, k": f"{n}, {d}, {k}"} | values


def iteration(n, d, k):
    X, start = jax.device_put(problem(n, d, k, "float32"))
    call = lambda steps: jgmm.em(start, X, stop=jgmm.LogProbStop(0.0), max_steps=steps)  # noqa: E731
    assert int(call(6).num_steps) == 6
    seconds = (median_time(lambda: call(6)) - median_time(lambda: call(1))) / 5
    return row("EM iteration", n, d, k, **{"µs": 1e6 * seconds, "ns a row": 1e9 * seconds / n})


def memory(n, d, k):
    key, (_, start) = jax.eval_shape(lambda: jax.random.key(0)), problem(k, d, k, "float32")
    # Weights are an argument, as where `em` is called with data, not inside another function's jit.
    X, weight = jax.ShapeDtypeStruct((n, d), "float32"), jax.ShapeDtypeStruct((n,), "float32")
    programs = {
        "em": jax.jit(jgmm.em).lower(start, X, weight),
        "fit": jax.jit(lambda key, X, weight: jgmm.fit(key, X, k, sample_weight=weight)).lower(key, X, weight),
    }
    for name, lowered in programs.items():
        size = lowered.compile().memory_analysis().temp_size_in_bytes
        yield row(f"memory of {name}", n, d, k, **{"temporary MB": size / 1e6, "data MB": 4 * n * d / 1e6})


def computations(hlo):
    """Name and text of each computation of a compiled program."""
    return dict(re.findall(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\{\n(.*?)^\}", hlo, re.M | re.S))


def in_a_loop(hlo, pattern):
    """Whether something matches in a loop's body, or in what the body calls."""
    texts = computations(hlo)
    waiting = re.findall(r"body=%?([\w.\-]+)", hlo)
    seen = set()
    while waiting:
        name = waiting.pop()
        if name in texts and name not in seen:
            seen.add(name)
            waiting += re.findall(r"%([\w.\-]+)", texts[name])
    return any(re.search(pattern, texts[name]) for name in seen)


def calls(d, k):
    params = jax.device_put(problem(k, d, k, "float32")[1])
    factor = jax.jit(lambda params: params.cov.factor())
    jax.block_until_ready(factor(params))
    factorisation = 1e6 * median_time(lambda: factor(params), 50)
    for name, move in (("log_prob", jgmm.log_prob), ("its gradient", jax.grad(jgmm.log_prob, argnums=1))):

        def loop(params, x, move=move):
            return jax.lax.fori_loop(0, CALLS, lambda _, x: x + 1e-6 * move(params, x), x)

        point = params.means[0]
        compiled = jax.jit(loop).lower(params, point).compile()
        jax.block_until_ready(compiled(params, point))
        hlo = compiled.as_text()
        assert re.search(CHOLESKY, hlo)
        values = {
            "µs": 1e6 * median_time(lambda compiled=compiled, point=point: compiled(params, point)) / CALLS,
            "factorisation µs": factorisation,
            "Cholesky in the loop": "yes" if in_a_loop(hlo, CHOLESKY) else "no",
        }
        yield row(name, 1, d, k, **values)


def rows(quick):
    for n in (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000, 10_000_000):
        yield iteration(n, 8, 8)
    for k in (4, 16, 64):
        yield iteration(100_000, 8, k)
    yield from memory(1_000_000, 32, 64)
    for d in (2, 16, 64):
        yield from calls(d, 8)
