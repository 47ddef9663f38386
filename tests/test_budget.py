"""Programs are small: the kernels of each, held to a table so that they can only become fewer.

XLA's time goes with their number, and what is not asked for should add none. Counted on the one version of JAX that
the table is of, 150 x 4 rows, 3 components, full covariances, float32, with the options of small calls (`programs`).
"""

import jax
import pytest
from programs import fusions, programs

from jgmm._base.programs import CHEAP

JAX = "0.9.2"
BUDGET = {
    "fit": 206,
    "em": 50,
    "em, Anderson": 85,
    "em, SQUAREM": 74,
    "e_step": 12,
    "step": 19,
    "init.kmeans": 63,
    "init.kmeans_plusplus": 48,
    "init.mixed": 48,
    "init.random_points": 35,
    "init.random_resp": 35,
}
MARGIN = 1.05


def test_every_program_has_a_budget():
    assert set(programs(150, 4, 3)) == set(BUDGET)


@pytest.mark.skipif(jax.__version__ != JAX, reason=f"the table is of JAX {JAX}: another has another count")
@pytest.mark.parametrize("name", BUDGET)
def test_no_program_outgrows_its_budget(name):
    function, arguments = programs(150, 4, 3)[name]
    count = fusions(function, arguments, CHEAP)
    assert count <= MARGIN * BUDGET[name], f"{name}: {count} kernels, of {BUDGET[name]} allowed. What added them?"
    assert count >= BUDGET[name] / MARGIN, f"{name}: {count} kernels, fewer than {BUDGET[name]}: lower the budget."
