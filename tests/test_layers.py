"""The rooms: a file imports only from its own room and from those above it."""

import ast
import sys
from pathlib import Path

import pytest

import jgmm

PACKAGE = Path(jgmm.__file__).parent
# From the top down; a file beside the rooms is a room of its own.
ROOMS = [
    "_base",
    "_files",
    "_covariance",
    "_mixture",
    "_expectation",
    "_em",
    "_gradient",
    "resample",
    "_starts",
    "init",
    "_search",
    "_stream",
    "_plot",
    "plot",
    "_select",
    "select",
    "sklearn",
]
# What a room may import beside, for it is no part of what ``import jgmm`` loads.
EXTRAS = {
    "_plot": {"matplotlib"},
    "plot": {"matplotlib"},
    "sklearn": {"sklearn", "scipy"},
    "_stream": {"tqdm"},
    "_select": {"tqdm"},
}
RUNTIME = {"jax", "jaxlib", "numpy", "optax", "jgmm"} | set(sys.stdlib_module_names)
MAX_LINES = 400

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]


def module_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported(source):
    """The dotted names that a source imports, at its top or inside functions; jgmm's as "jgmm.<room>...."."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["jgmm" if node.level else "", node.module]))
            if base == "jgmm":  # a room, or else a name that comes through __init__, which is above no one
                names |= {f"jgmm.{a.name}" if a.name in ROOMS else "jgmm.__init__" for a in node.names}
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
        ("from jgmm import _base", {"jgmm._base"}),
        ("from jgmm import init as initialisers", {"jgmm.init"}),
        ("from jgmm._covariance.full import Full, Tied", {"jgmm._covariance.full"}),
        ("import jgmm._search.fit as f", {"jgmm._search.fit"}),
        ("import jgmm", {"jgmm.__init__"}),
        ("from jgmm import GMM", {"jgmm.__init__"}),
        ("def f():\n    from jgmm._search.fit import fit", {"jgmm._search.fit"}),
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


def room_of(name):
    """The room of "jgmm.<room>...", or of "<room>..."."""
    return name.removeprefix("jgmm.").split(".")[0]


def test_every_module_has_its_room():
    present = {room_of(module_of(path)) for path in MODULES}
    assert present == set(ROOMS), f"{sorted(present ^ set(ROOMS))} are not both in ROOMS and in the package."


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_a_file_imports_only_from_its_room_and_those_above(path):
    room = room_of(module_of(path))
    allowed = set(ROOMS[: ROOMS.index(room) + 1]) if room in ROOMS else set()
    own = {name for name in imported(path.read_text()) if name.split(".")[0] == "jgmm"}
    wrong = {name for name in own if room_of(name) not in allowed}
    assert not wrong, f"{path.name} is in {room} and imports {sorted(wrong)}, from a room below."


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("_")])
def test_a_door_plate_names_every_file_of_its_room_and_does_nothing(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text())
    assert [type(node) for node in tree.body] == [ast.Expr]
    described = ast.get_docstring(tree)
    assert len(described.splitlines()) <= 25
    files = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    missing = {name for name in files if f"\n    {name} " not in described}
    assert not missing, f"the door plate of {room} does not say what {sorted(missing)} are for"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_imports_only_the_runtime_packages(path):
    allowed = RUNTIME | EXTRAS.get(room_of(module_of(path)), set())
    others = {name for name in imported(path.read_text()) if name.split(".")[0] not in allowed}
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
