"""What a type checker says: nothing of the package and of what users write, and of a mistake that it is one."""

import json
import subprocess
import sys
from pathlib import Path

import jgmm

PACKAGE = Path(jgmm.__file__).parent

SOUND = """
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import jgmm

key = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(100, 2))
g = jgmm.GMM(jnp.full(2, 0.5), jnp.array([[-1.0, 0.0], [1.0, 0.0]]), jgmm.Diag(jnp.ones((2, 2))))
h = jgmm.GMM(weights=g.weights, means=g.means, cov=jgmm.Full(cov=jnp.stack([jnp.eye(2)] * 2)))
g = dataclasses.replace(g, weights=jnp.array([0.3, 0.7])).check()

result = jgmm.fit(key, X, 2, cov=jgmm.Tied, num_init=4, race=((5, 1),), stop=jgmm.ParamStop(rtol=1e-4)).check()
result = jgmm.fit(key, X.tolist(), 2, cov="diag", init=jgmm.init.kmeans, ridge=[0.1, 0.2], accelerate=jgmm.Squarem())
result = jgmm.em(g, X, accelerate=jgmm.Anderson(memory=3), stop=jgmm.LogProbStop(1e-6), frozen=("means",), max_steps=10)
result = jgmm.em_stream(g, jgmm.batches(X, 30), progress=print, checkpoint="state.npz", max_steps=10)
result = jgmm.em_stream(g, lambda: iter([(X, np.ones(100))]), stop=jgmm.ParamStop())
result = jgmm.fit_stream(key, jgmm.batches(X, 30), 2, cov="diag", init=("kmeans", jgmm.init.kmeans), sample_rows=1000)
g, running = jgmm.online_step(g, None, X, 0.5, sample_weight=np.ones(100))
result = jgmm.fit_gradient(g, X, stop=jgmm.GradientStop(1e-6), optimizer=jgmm.newton())
result = jgmm.fit(key, X, 2, cov=jgmm.lowrank(1, noise="spherical", wide=True))
low = jgmm.LowRank(jnp.ones((2, 2, 1)), jgmm.Diag(jnp.ones((2, 2))), wide=True)
low_rank: jgmm.GMM = jgmm.m_step(jgmm.e_step(jgmm.GMM(g.weights, g.means, low), X), jgmm.lowrank(1, wide=True))
steps: int = int(result.num_steps)
weights: jax.Array = result.params.weights
print(result.converged, result.mean_log_prob, jgmm.Status(int(result.status)).message)

stats = sum([jgmm.e_step(g, X[:50]), 0.9 * jgmm.e_step(g, X[50:])], 0 * jgmm.e_step(g, X))
params = jgmm.m_step(stats, g.cov, ridge=1e-6)
params = jgmm.m_step(stats, "diag")
errors = jgmm.standard_errors(params, X).errors
rows, labels = jgmm.sample(key, jgmm.marginal(jgmm.affine(g, 2.0, 1.0), [0]), 10)
density = jax.jit(jgmm.log_prob)(g, jnp.zeros(2)) + jgmm.bic(g, X) + g.covariances.sum()
mean, cov = jgmm.moments(jgmm.condition(g, 0, [0.5]))
other = jgmm.from_unconstrained(type(g.cov), jgmm.to_unconstrained(g))
refits = jax.vmap(lambda w: jgmm.em(g, X, w).params)(jgmm.resample.bootstrap(key, 100, 5))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Shared(jgmm.Covariance):
    var: jax.Array

    form = jgmm.Spherical.form

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        return cls(scatter.sum() / weight.sum() / len(ridge) + ridge.mean())

    def factor(self):
        return jgmm.Spherical(self.var[None]).factor()

    def dense(self, num_components, num_features):
        return jnp.broadcast_to(self.var * jnp.eye(num_features), (num_components, num_features, num_features))

    @staticmethod
    def num_parameters(num_components, num_features):
        return 1


own = jgmm.fit(key, X, 2, cov=Shared)
"""

MISTAKES = {  # a line, and the rule that it breaks
    "g.weights = jnp.ones(1)": "reportAttributeAccessIssue",
    "result.num_steps = 3": "reportAttributeAccessIssue",
    "jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)))": "reportCallIssue",
    "jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))": "reportArgumentType",
    "jgmm.fit(0, X, 2)": "reportArgumentType",
    "jgmm.fit(jax.random.key(0), X, 2, cov=3)": "reportArgumentType",
    "jgmm.em(g, X, stop=1e-6)": "reportArgumentType",
    "jgmm.em(g, X, stop=jgmm.LogProbStop)": "reportArgumentType",
    "jgmm.em(g, X, tol=1e-6)": "reportCallIssue",
}

BEGIN = """
import jax
import jax.numpy as jnp

import jgmm

X = jnp.ones((3, 1))
g = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
result = jgmm.em(g, X)
"""


def test_pyright_finds_the_mistakes_and_nothing_else(tmp_path):
    sound, mistaken = tmp_path / "sound.py", tmp_path / "mistaken.py"
    sound.write_text(SOUND)
    mistaken.write_text(BEGIN + "\n".join(MISTAKES))
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--pythonpath",
        sys.executable,
        "--outputjson",
        PACKAGE,
        sound,
        mistaken,
    ]
    done = subprocess.run([*map(str, command)], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=280)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] > len(list(PACKAGE.rglob("*.py")))

    first = len(BEGIN.splitlines())
    found = {line: set() for line in MISTAKES}
    others = []
    for problem in report["generalDiagnostics"]:
        line = problem["range"]["start"]["line"] - first
        if Path(problem["file"]) == mistaken and line >= 0:
            found[list(MISTAKES)[line]].add(problem.get("rule"))
        else:
            others.append(f"{problem['file']}:{problem['range']['start']['line'] + 1}: {problem['message']}")
    assert not others, "\n".join(others)
    assert found == {line: {rule} for line, rule in MISTAKES.items()}
