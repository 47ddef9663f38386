"""How many components, and what covariance: criteria over a grid, cross-validation, a bootstrap test.

    sweep            every k with every family, one compiled program a family    Selection      its table
    bootstrap_test   k components against k + 1, by simulation                   BootstrapTest  its outcome

`jgmm.bic`, `jgmm.aic` and `jgmm.icl` are the criteria of a single mixture.
"""

from jgmm._select.bootstrap import BootstrapTest, bootstrap_test
from jgmm._select.grid import sweep
from jgmm._select.table import Selection

__all__ = ["BootstrapTest", "Selection", "bootstrap_test", "sweep"]

for _cls in (BootstrapTest, Selection):
    _cls.__module__ = __name__  # what is pickled outlives a move of the file
