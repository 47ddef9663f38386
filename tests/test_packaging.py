"""What pip installs, what an import costs, and what lies at the top of the repository."""

import importlib.resources
import inspect
import pickle
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import cloudpickle
import jax
import pytest
from packaging.requirements import Requirement
from test_user_family import Equicorrelated
from values import NAMES, assert_same, values

import jgmm

ROOT = Path(__file__).parents[1]
CLASSES = [value for name in jgmm.__all__ if inspect.isclass(value := getattr(jgmm, name))]
TOP_LEVEL = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "jgmm", "tests", "examples"}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NEEDED = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
PRODUCTS = ["__pycache__", "build", "dist", "*.egg-info", "PKG-INFO"]  # of building, not of the project


def top_level(root):
    """The names at the top of the repository: what git tracks or, without git, what lies there."""
    if (root / ".git").exists() and shutil.which("git"):
        tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout
        names = {line.split("/")[0].strip('"') for line in tracked.splitlines()}
    else:
        names = {path.name for path in root.iterdir() if not any(map(path.match, PRODUCTS))}
    return {name for name in names if not name.startswith(".")}


def test_the_version_is_the_one_that_is_built():
    source = ROOT / PROJECT["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{jgmm.__version__}"' in source.read_text().splitlines()


def test_jaxlib_versions_that_deadlock_are_excluded():
    [jaxlib] = [requirement for requirement in NEEDED if requirement.name == "jaxlib"]
    versions = ["0.9.2", "0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.1", "0.12.0"]
    assert list(jaxlib.specifier.filter(versions)) == ["0.9.2", "0.11.1", "0.12.0"]


def test_only_four_packages_are_needed_to_run():
    assert {requirement.name for requirement in NEEDED} == {"jax", "jaxlib", "numpy", "optax"}


def test_the_package_says_that_it_is_typed():
    assert importlib.resources.files("jgmm").joinpath("py.typed").is_file()


def test_an_import_loads_no_heavy_optional_package():
    program = "import sys, jgmm; print(*{'matplotlib', 'sklearn', 'scipy.stats'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_pickled_name_survives_a_move_of_the_file(cls):
    assert cls.__module__ == "jgmm"
    assert pickle.loads(pickle.dumps(cls)) is cls


@pytest.mark.parametrize("pickles", [pickle, cloudpickle], ids=lambda module: module.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_every_public_value_can_be_pickled(name, pickles, dtype):
    value = values(dtype)[name]
    assert_same(pickles.loads(pickles.dumps(value)), value)


@pytest.mark.parametrize("pickles", [pickle, cloudpickle], ids=lambda module: module.__name__)
def test_errors_keys_and_own_families_can_be_pickled(pickles):
    for error in (jgmm.FitError("a"), jgmm.FileError("b")):
        again = pickles.loads(pickles.dumps(error))
        assert (type(again), again.args) == (type(error), error.args)
    tree = [jax.random.key(3), Equicorrelated(jax.numpy.ones(2), jax.numpy.zeros(2), 3), Equicorrelated]
    assert_same(pickles.loads(pickles.dumps(tree)), tree)


def test_a_family_written_in_a_script_goes_to_another_process_by_cloudpickle(tmp_path):
    """As joblib and Ray send it: by value, for the other process has no such module."""
    write = """
import dataclasses, sys, cloudpickle, jax, jax.numpy as jnp, jgmm

@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Mine(jgmm.Spherical):
    pass

cloudpickle.dump(jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), Mine(jnp.ones(1))), open(sys.argv[1], "wb"))
"""
    read = "import pickle, sys; p = pickle.load(open(sys.argv[1], 'rb')); print(type(p.cov).__name__, p.covariances)"
    for code in (write, read):
        command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code, tmp_path / "a"]
        run = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "Mine [[[1.]]]"


def test_the_top_level_holds_only_what_it_should():
    assert top_level(ROOT) <= TOP_LEVEL


def test_the_top_level_is_read_without_git_too(tmp_path):
    for name in ("jgmm", "build", "jgmm.egg-info", "__pycache__", ".venv", "stray"):
        (tmp_path / name).mkdir()
    assert top_level(tmp_path) == {"jgmm", "stray"}
