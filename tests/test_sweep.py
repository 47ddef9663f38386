"""Rows spread over the devices of a mesh: fits and questions give what they give on whole rows, and no row moves."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, random_gmm
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jgmm
from jgmm._base.sweep import Sweep

DEVICES = 4  # over which the rows are spread, of 8
start = partial(random_gmm, 0, 3, 2)

ACCELERATE = {"full": "anderson", "tied": "anderson"}  # leaps are the same for every family, and costly to compile
FITS = {  # of rows and weights
    f"em, {cov}": lambda X, w, cov=cov: jgmm.em(start(cov), X, w, accelerate=ACCELERATE.get(cov), max_steps=9)
    for cov in FAMILIES
} | {
    "e_step": lambda X, w: jgmm.e_step(start("full"), X, w),
    "step": lambda X, w: jgmm.step(start("full"), X, w),
    "fit": lambda X, w: jgmm.fit(jax.random.key(0), X, 3, sample_weight=w, max_steps=20),
    "fit, the starts all run": lambda X, w: jgmm.fit(
        jax.random.key(0), X, 3, cov="spherical", sample_weight=w, num_init=6, race=(), accelerate=None, max_steps=9
    ),
    "relative_ridge": lambda X, w: jgmm.relative_ridge(X, sample_weight=w),
    "bic": lambda X, w: jgmm.bic(start("full"), X, w),
    "many starts": lambda X, w: jax.vmap(
        lambda means: jgmm.em(jgmm.GMM(start("full").weights, means, start("full").cov), X, w, max_steps=5)
    )(start("full").means + jnp.arange(6.0)[:, None, None] / 9),
}
COSTLY = {"em, full", "em, diag", "em, spherical", "many starts", "fit, the starts all run"}  # to compile

QUESTIONS = {  # of rows
    "log_prob": lambda X: jgmm.log_prob(start("full"), X),
    "responsibilities": lambda X: jgmm.responsibilities(start("full"), X, chunk_size=64),
    "predict": lambda X: jgmm.predict(start("full"), X),
    "uncertainty": lambda X: jgmm.uncertainty(start("full"), X),
    "gradient of log_prob": lambda X: jax.grad(lambda params: jgmm.log_prob(params, X).sum())(start("full")),
}

STARTS = {  # of rows and weights: what draws and sorts rows
    "kmeans": lambda X, w: jgmm.init.kmeans(jax.random.key(0), X, 3, sample_weight=w),
    "random_resp": lambda X, w: jgmm.init.random_resp(jax.random.key(0), X, 3, sample_weight=w),
    "mini-batches": lambda X, w: numbers(
        jgmm.fit_gradient(start("diag"), X, w, batch_size=600, key=jax.random.key(0), max_steps=2)
    ),
    "cross_validation": lambda X, w: jgmm.resample.cross_validation(jax.random.key(0), len(X), 3, sample_weight=w),
    "bootstrap": lambda X, w: jgmm.resample.bootstrap(jax.random.key(0), len(X), 2, sample_weight=w),
}


def rows():
    """Rows of three groups, and their weights: those of the last device are absent."""
    n, rng = 2000, np.random.default_rng(0)
    X = rng.normal(size=(n, 2)) + rng.choice([-2.0, 0, 2.5], size=(n, 1))
    weight = rng.integers(0, 3, n) * (np.arange(n) < n * (DEVICES - 1) // DEVICES)
    return jnp.asarray(X), jnp.asarray(weight, float)


def rows_with_nan():
    """The same, NaN where they are absent."""
    X, weight = rows()
    return jnp.where(weight[:, None] > 0, X, jnp.nan), weight


def mesh_of(kind):
    return jax.make_mesh((DEVICES,), ("rows",), axis_types=(kind,))


def spread(x, kind=AxisType.Explicit):
    return jax.device_put(x, NamedSharding(mesh_of(kind), P("rows")))


def numbers(result):  # steps and statuses as well
    return jax.tree.map(lambda x: jnp.asarray(x, float), result)


# What each part of the test runs on its devices gives names, and the two sides of an equation.


def automatic_axes():
    (X, w), (sound, _) = rows_with_nan(), rows()
    for name, f in FITS.items():
        yield name, numbers(f(spread(X, AxisType.Auto), w)), numbers(f(X, w))
    for name, f in QUESTIONS.items():
        yield name, f(spread(sound, AxisType.Auto)), f(sound)
    uneven = X[:1999], w[:1999]
    padded = jgmm.spread(*uneven, mesh=mesh_of(AxisType.Auto))
    yield "uneven parts", numbers(FITS["em, full"](*padded)), numbers(FITS["em, full"](*uneven))
    batches = [jgmm.spread(X[i : i + 650], w[i : i + 650], mesh=mesh_of(AxisType.Auto)) for i in range(0, 2000, 650)]
    streamed = jgmm.em_stream(start("full"), batches, max_steps=5)
    yield "a stream", numbers(streamed), numbers(jgmm.em(start("full"), X, w, max_steps=5))
    for name, f in STARTS.items():
        yield name, f(spread(sound, AxisType.Auto), w), f(sound, w)
    unseen = jax.jit(FITS["em, tied"])  # inside jit no one knows of the mesh
    yield "jit", numbers(unseen(spread(X, AxisType.Auto), w)), numbers(FITS["em, tied"](X, w))


def explicit_axes():  # which are in the types, inside jit too
    (X, w), (sound, _) = rows_with_nan(), rows()
    for name, f in FITS.items():
        if name not in COSTLY:
            yield name, numbers(jax.jit(f)(spread(X), w)), numbers(f(X, w))
    for name, f in QUESTIONS.items():
        yield name, jax.jit(f)(spread(sound)), f(sound)
    for name, f in STARTS.items():
        yield name, jax.jit(f)(spread(sound), spread(w)), f(sound, w)
    again = lambda X, w: jgmm.em(jgmm.em(start("full"), X, w, max_steps=2).params, X, w, max_steps=2)  # noqa: E731
    yield "a result as a start", numbers(again(spread(X), w)), numbers(again(X, w))
    bad = jax.jit(lambda X: jgmm.em(start("full"), X).status)
    yield "NaN on one device", bad(spread(X)), jgmm.Status.INVALID_DATA

    text = jax.jit(FITS["em, full"]).lower(spread(X), spread(w)).compile().as_text()
    sent = [line.split(" all-reduce")[0] for line in text.splitlines() if " all-reduce" in line and "=" in line]
    shapes = re.findall(r"\[([\d,]+)\]", " ".join(sent))
    largest = max(np.prod([int(n) for n in shape.split(",")]) for shape in shapes)
    yield "em sends sums, no rows", "all-gather" not in text and largest < 100, True


def derivatives():
    X, _ = rows()
    for name, f in {
        "reverse": lambda X: jax.grad(lambda X: jgmm.em(start("full"), X).params.weights[0])(X),
        "standard_errors": lambda X: jgmm.standard_errors(jgmm.em(start("full"), X).params, X).errors,
        "fit_gradient": lambda X: jgmm.fit_gradient(start("full"), X, max_steps=9).params,
    }.items():
        yield name, jax.jit(f)(spread(X)), f(X)


def inside_shard_map():
    (X, w), (sound, _), mesh = rows_with_nan(), rows(), mesh_of(AxisType.Explicit)
    mapped = lambda f: jax.jit(jax.shard_map(f, mesh=mesh, in_specs=P("rows"), out_specs=P()))  # noqa: E731
    over = {"axis_name": "rows"}
    for name, f in {
        "step": lambda X, w, **over: jgmm.step(start("full"), X, w, **over),
        "em": lambda X, w, **over: jgmm.em(start("full"), X, w, accelerate="anderson", max_steps=9, **over),
        "fit": lambda X, w, **over: jgmm.fit(jax.random.key(0), X, 3, sample_weight=w, max_steps=20, **over),
    }.items():
        yield name, numbers(mapped(partial(f, **over))(spread(X), spread(w))), numbers(f(X, w))

    sweep = Sweep(axis_name=("rows",))
    number = mapped(lambda X, w: sweep.parted(lambda x: x + sweep.shard, jnp.zeros(10, jnp.int32)))
    yield "each device does its part", number(spread(X), spread(w)), np.arange(10) // 3

    def by_hand(X, w):
        part = jgmm.e_step(start("full"), X, w)
        return dataclasses.replace(jax.lax.psum(part, "rows"), center=part.center)

    yield "e_step and psum", mapped(by_hand)(spread(X), spread(w)), jgmm.e_step(start("full"), X, w)
    log_prob = jax.jit(jax.shard_map(jgmm.log_prob, mesh=mesh, in_specs=(P(), P("rows")), out_specs=P("rows")))
    grad = jax.jit(jax.grad(lambda params: log_prob(params, spread(sound)).sum()))
    yield "gradient of log_prob", grad(start("full")), QUESTIONS["gradient of log_prob"](sound)
    yield "log_prob stays where its rows are", log_prob(start("full"), spread(sound)).sharding.spec == P("rows"), True

    keys, sets = jax.random.split(jax.random.key(0), DEVICES), sound.reshape(DEVICES, -1, 2)
    separate = jax.vmap(lambda key, X: jgmm.fit(key, X, 2, cov="diag", num_init=2, max_steps=9, accelerate=None).params)
    each = jax.jit(jax.shard_map(separate, mesh=mesh, in_specs=P("rows"), out_specs=P("rows")))
    yield "a data set for each device", each(spread(keys), spread(sets)), jax.jit(separate)(keys, sets)

    many = jax.random.normal(jax.random.key(1), (1000, 12, 2)) + jnp.arange(12)[None, :, None]
    small = jax.vmap(lambda X: jgmm.em(start("diag"), X, ridge=0.1, max_steps=4).params)
    all_eight = jax.make_mesh((8,), ("sets",))
    each = jax.jit(jax.shard_map(small, mesh=all_eight, in_specs=P("sets"), out_specs=P("sets")))
    on_all = jax.device_put(many, NamedSharding(all_eight, P("sets")))
    yield "a thousand data sets", each(on_all), jax.jit(small)(many)

    with pytest.raises(NotImplementedError, match="Call it outside"):
        mapped(lambda X: jax.jvp(lambda X: jgmm.em(start("full"), X, **over).params.means, (X,), (X,))[1])(
            spread(sound)
        )


PROGRAM = """
import jax, json, sys
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[1])
import numpy as np
import test_sweep

def difference(found, expected):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    pairs = [(np.asarray(a, float), np.asarray(b, float)) for a, b in pairs]
    assert all((np.isnan(a) == np.isnan(b)).all() for a, b in pairs)
    pairs = [(a, b) for a, b in pairs if not np.isnan(b).all()]
    return max(float(np.nanmax(np.abs(a - b)) / max(1, np.nanmax(np.abs(b)))) for a, b in pairs)

equations = getattr(test_sweep, sys.argv[2])()
print(json.dumps({name: difference(*map(jax.device_get, sides)) for name, *sides in equations}))
"""


@pytest.mark.parametrize(
    ("part", "count"), [("automatic_axes", 24), ("explicit_axes", 19), ("derivatives", 3), ("inside_shard_map", 9)]
)
def test_rows_spread_over_devices_give_what_whole_rows_give(part, count):
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(Path(jgmm.__file__).parents[1]),
    }
    if folder := jax.config.jax_compilation_cache_dir:  # the programs of whole rows are those of the other parts
        env |= {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    ignored = [f"-Wignore:Error {verb} persistent compilation cache entry" for verb in ("reading", "writing")]
    command = [sys.executable, "-W", "error", *ignored, "-c", PROGRAM, str(Path(__file__).parent), part]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr
    differences = json.loads(run.stdout)
    assert len(differences) == count
    assert max(differences.values()) < 1e-8, differences


@pytest.mark.parametrize("axis_name", ["", (), 3, ("rows", 1)])
def test_an_axis_name_that_is_none_is_refused(axis_name):
    params, X = random_gmm(0, 2, 2, "diag"), np.zeros((5, 2))
    with pytest.raises(TypeError, match="name of a mesh axis"):
        jgmm.em(params, X, axis_name=axis_name)


def test_an_axis_name_outside_shard_map_is_refused():
    params, X = random_gmm(0, 2, 2, "diag"), np.zeros((5, 2))
    for call in (jgmm.e_step, jgmm.step, jgmm.em):
        with pytest.raises(NameError, match="rows"):
            call(params, X, axis_name="rows")
