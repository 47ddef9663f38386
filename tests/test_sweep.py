"""Rows spread over the devices of a mesh: fits and questions give what they give on whole rows, and no row moves."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, random_gmm

import jgmm

DEVICES = 4
KEY = jax.random.key(0)


def blobs(n):
    """Rows of three groups, and their weights: those of the last device are absent."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2)) + rng.choice([-2.0, 0, 2.5], size=(n, 1))
    weight = rng.integers(0, 3, n) * (np.arange(n) < n * (DEVICES - 1) // DEVICES)
    return jnp.asarray(X), jnp.asarray(weight, float)


def on_devices():
    """What the program below prints; each gives the two sides of an equation."""
    from jax.sharding import AxisType, NamedSharding
    from jax.sharding import PartitionSpec as P

    sound, w = blobs(2000)
    X = jnp.where(w[:, None] > 0, sound, jnp.nan)
    start = random_gmm(0, 3, 2, "full")

    fits = {
        f"em, {cov}": lambda X, w, cov=cov: jgmm.em(random_gmm(0, 3, 2, cov), X, w, accelerate="anderson", max_steps=9)
        for cov in FAMILIES
    } | {
        "e_step": lambda X, w: jgmm.e_step(start, X, w),
        "step": lambda X, w: jgmm.step(start, X, w),
        "fit": lambda X, w: jgmm.fit(KEY, X, 3, sample_weight=w, max_steps=20),
        "fit, the starts all run": lambda X, w: jgmm.fit(
            KEY, X, 3, cov="diag", sample_weight=w, num_init=6, race=(), max_steps=9
        ),
        "relative_ridge": lambda X, w: jgmm.relative_ridge(X, sample_weight=w),
        "bic": lambda X, w: jgmm.bic(start, X, w),
        "many starts": lambda X, w: jax.vmap(
            lambda m: jgmm.em(jgmm.GMM(start.weights, m, start.cov), X, w, max_steps=5)
        )(start.means + jnp.arange(6.0)[:, None, None] / 9),
    }
    questions = {
        "log_prob": lambda X: jgmm.log_prob(start, X),
        "responsibilities": lambda X: jgmm.responsibilities(start, X, chunk_size=64),
        "predict": lambda X: jgmm.predict(start, X),
        "gradient of log_prob": lambda X: jax.grad(lambda params: jgmm.log_prob(params, X).sum())(start),
    }
    derivatives = {
        "reverse": lambda X: jax.grad(lambda X: jgmm.em(start, X).params.weights[0])(X),
        "standard_errors": lambda X: jgmm.standard_errors(jgmm.em(start, X).params, X).errors,
        "fit_gradient": lambda X: jgmm.fit_gradient(start, X, max_steps=9).params,
    }

    def numbers(result):  # steps and statuses as well
        return jax.tree.map(lambda x: jnp.asarray(x, float), result)

    whole = {name: numbers(f(X, w)) for name, f in fits.items()} | {name: f(sound) for name, f in questions.items()}
    for kind in (AxisType.Auto, AxisType.Explicit):  # a mesh of the latter is in the types, inside jit too
        mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(kind,))
        spread = lambda x: jax.device_put(x, NamedSharding(mesh, P("rows")))  # noqa: B023, E731
        compiled = jax.jit if kind == AxisType.Explicit else lambda f: f
        costly = {"em, full", "em, diag", "em, spherical", "many starts", "fit, the starts all run"}
        for name, f in fits.items():
            if kind == AxisType.Auto or name not in costly:
                yield f"{kind}, {name}", numbers(compiled(f)(spread(X), w)), whole[name]
        for name, f in questions.items():
            yield f"{kind}, {name}", compiled(f)(spread(sound)), whole[name]
    for name, f in derivatives.items():
        yield f"jit, {name}", jax.jit(f)(spread(sound)), f(sound)
    again = lambda X, w: jgmm.em(jgmm.em(start, X, w, max_steps=2).params, X, w, max_steps=2)  # noqa: E731
    yield "a result as a start", numbers(again(spread(X), w)), numbers(again(X, w))
    bad = jax.jit(lambda X: jgmm.em(start, X).status)
    yield "NaN on one device", bad(spread(X)), jgmm.Status.INVALID_DATA
    automatic = jax.make_mesh((DEVICES,), ("rows",), axis_types=(AxisType.Auto,))  # inside jit no one knows of it
    unseen = jax.device_put(X, NamedSharding(automatic, P("rows")))
    yield "jit, automatic axes", numbers(jax.jit(fits["em, full"])(unseen, w)), whole["em, full"]

    mapped = lambda f: jax.jit(jax.shard_map(f, mesh=mesh, in_specs=P("rows"), out_specs=P()))  # noqa: E731
    over = {"axis_name": "rows"}
    for name, f in {
        "step": lambda X, w: jgmm.step(start, X, w, **over),
        "em, full": lambda X, w: jgmm.em(start, X, w, accelerate="anderson", max_steps=9, **over),
        "fit": lambda X, w: jgmm.fit(KEY, X, 3, sample_weight=w, max_steps=20, **over),
    }.items():
        yield f"shard_map, {name}", numbers(mapped(f)(spread(X), spread(w))), whole[name]

    def by_hand(X, w):
        part = jgmm.e_step(start, X, w)
        return dataclasses.replace(jax.lax.psum(part, "rows"), center=part.center)

    yield "e_step and psum", mapped(by_hand)(spread(X), spread(w)), whole["e_step"]
    rows = jax.jit(jax.shard_map(jgmm.log_prob, mesh=mesh, in_specs=(P(), P("rows")), out_specs=P("rows")))
    grad = jax.jit(jax.grad(lambda params: rows(params, spread(sound)).sum()))
    yield "shard_map, gradient of log_prob", grad(start), whole["gradient of log_prob"]
    yield "log_prob stays where its rows are", rows(start, spread(sound)).sharding.spec == P("rows"), True

    keys, sets = jax.random.split(KEY, DEVICES), sound.reshape(DEVICES, -1, 2)
    separate = jax.vmap(lambda key, X: jgmm.fit(key, X, 2, cov="diag", num_init=2, max_steps=9, accelerate=None).params)
    each = jax.jit(jax.shard_map(separate, mesh=mesh, in_specs=P("rows"), out_specs=P("rows")))
    yield "a data set for each device", each(spread(keys), spread(sets)), jax.jit(separate)(keys, sets)

    text = jax.jit(fits["em, full"]).lower(spread(X), spread(w)).compile().as_text()
    sent = [line.split(" all-reduce")[0] for line in text.splitlines() if " all-reduce" in line and "=" in line]
    shapes = re.findall(r"\[([\d,]+)\]", " ".join(sent))
    largest = max(np.prod([int(n) for n in shape.split(",")]) for shape in shapes)
    yield "em sends sums, no rows", "all-gather" not in text and largest < 100, True

    with pytest.raises(NotImplementedError, match="Call it outside"):
        mapped(lambda X: jax.jvp(lambda X: jgmm.em(start, X, **over).params.means, (X,), (X,))[1])(spread(sound))


PROGRAM = """
import jax, json, sys
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_sweep import on_devices

def difference(found, expected):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    pairs = [(np.asarray(a, float), np.asarray(b, float)) for a, b in pairs]
    assert all((np.isnan(a) == np.isnan(b)).all() for a, b in pairs)
    pairs = [(a, b) for a, b in pairs if not np.isnan(b).all()]
    return max(float(np.nanmax(np.abs(a - b)) / max(1, np.nanmax(np.abs(b)))) for a, b in pairs)

print(json.dumps({name: difference(*map(jax.device_get, sides)) for name, *sides in on_devices()}))
"""


def test_rows_spread_over_devices_give_what_whole_rows_give():
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
        "PYTHONPATH": str(Path(jgmm.__file__).parents[1]),
    }
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(Path(__file__).parent)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr
    differences = json.loads(run.stdout)
    assert len(differences) == 11 + 6 + 2 * 4 + 3 + 3 + 3 + 4 + 1
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
