"""The layers: a file imports only from the rows above its own."""

import ast
import sys
from pathlib import Path

import pytest

import jgmm

PACKAGE = Path(jgmm.__file__).parent
ROWS = [
    ["_pytree", "_lanes", "_checks", "_status"],
    ["_factor", "_rows", "_sweep"],
    ["_cov_diag", "_krylov"],
    ["_cov_full"],
    ["_cov"],
    ["_gmm", "_stats"],
    ["_kernels", "_stop", "_moments", "_queries", "_result", "_coordinates", "_metric", "resample"],
    ["_steps", "_accelerate", "_ops", "_newton"],
    ["_implicit", "_adapt"],
    ["_em", "_divergence"],
    ["init", "_restarts", "_gradient", "_standard_errors"],
    ["_fit"],
]
ROW = {module: row for row, modules in enumerate(ROWS) for module in modules}
RUNTIME = {"jax", "jaxlib", "numpy", "optax", "jgmm"} | set(sys.stdlib_module_names)
MAX_LINES = 400

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]


def module_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported(source, modules=frozenset(ROW)):
    """The dotted names that a source imports, at its top or inside functions; jgmm's as "jgmm.<module>"."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["jgmm" if node.level else "", node.module]))
            if base == "jgmm":  # a module, or else a name that comes through __init__, which is above no one
                names |= {f"jgmm.{a.name}" if a.name in modules else "jgmm.__init__" for a in node.names}
            else:
                names.add(base)
    return {"jgmm.__init__" if name == "jgmm" else name for name in names}


def uses_config(source):
    """Whether a source touches ``jax.config`` or the environment, by any spelling."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("jax.config", "os.environ", "os.putenv"):
            return True
        if isinstance(node, ast.Import) and "jax.config" in ast.unparse(node):
            return True
        if isinstance(node, ast.ImportFrom) and node.module in ("jax", "jax.config", "os"):
            names = {alias.name for alias in node.names}
            if node.module == "jax.config" or names & {"config", "environ", "putenv"}:
                return True
    return False


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from jgmm import _checks", {"jgmm._checks"}),
        ("from jgmm import init as initialisers", {"jgmm.init"}),
        ("from jgmm._cov import Full, Tied", {"jgmm._cov"}),
        ("from . import _em", {"jgmm._em"}),
        ("from ._em import em", {"jgmm._em"}),
        ("import jgmm._fit as f", {"jgmm._fit"}),
        ("import jgmm", {"jgmm.__init__"}),
        ("from jgmm import GMM", {"jgmm.__init__"}),
        ("def f():\n    from jgmm._fit import fit", {"jgmm._fit"}),
        ("import jax.numpy as jnp, numpy as np", {"jax.numpy", "numpy"}),
    ],
)
def test_the_reader_of_imports_sees_every_form(source, names):
    assert imported(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "jax.config.update('a', 1)",
        "from jax import config",
        "import jax.config as c",
        "from jax.config import config",
        "os.environ['XLA_FLAGS'] = ''",
    ],
)
def test_the_reader_of_configuration_sees_every_form(source):
    assert uses_config(source)
    assert not uses_config("text = \"jax.config.update('jax_enable_x64', True)\"; jax.numpy.ones(2)")


def test_every_module_has_its_row():
    present = {module_of(path) for path in MODULES}
    assert not present - set(ROW), (
        f"{sorted(present - set(ROW))} have no row. Put each in ROWS of {Path(__file__).name}, in the first row "
        "below everything that it imports, and in the layout of the design."
    )
    assert not set(ROW) - present, f"{sorted(set(ROW) - present)} are in the table, but there are no such files."


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_a_file_imports_only_from_the_rows_above(path):
    row = ROW.get(module_of(path), 0)
    wrong = {
        name
        for name in imported(path.read_text())
        if name.split(".")[0] == "jgmm" and ROW.get(name.removeprefix("jgmm."), len(ROWS)) >= row
    }
    assert not wrong, f"{path.name} is in row {row} and imports {sorted(wrong)}, from its own row or below."


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_imports_only_the_runtime_packages(path):
    others = {name for name in imported(path.read_text()) if name.split(".")[0] not in RUNTIME}
    assert not others, f"{path.name} imports {sorted(others)}, which pip install jgmm does not bring."


def test_the_package_file_only_re_exports():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    names = {"__all__", "__version__"}
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assignment = isinstance(node, ast.Assign) and {ast.unparse(target) for target in node.targets} <= names
        assert docstring or assignment or isinstance(node, ast.ImportFrom), ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_stay_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines, more than {MAX_LINES}: split it."


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_file_changes_global_configuration(path):
    assert not uses_config(path.read_text()), f"{path.name} touches jax.config or the environment."
