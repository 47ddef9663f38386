"""What pip installs, what an import costs, and what lies at the top of the repository."""

import importlib.metadata
import importlib.resources
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import jgmm

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "jgmm", "tests", "examples"}


@pytest.fixture(scope="module")
def metadata():
    try:
        return importlib.metadata.metadata("jgmm")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("jgmm is not installed")


def test_the_version_is_the_installed_one(metadata):
    assert jgmm.__version__ == metadata["Version"]


def test_jaxlib_versions_that_deadlock_are_excluded(metadata):
    [jaxlib] = [r for r in map(Requirement, metadata.get_all("Requires-Dist")) if r.name == "jaxlib"]
    versions = ["0.9.2", "0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.1", "0.12.0"]
    assert list(jaxlib.specifier.filter(versions)) == ["0.9.2", "0.11.1", "0.12.0"]


def test_only_four_packages_are_needed_to_run(metadata):
    requirements = map(Requirement, metadata.get_all("Requires-Dist"))
    assert {r.name for r in requirements if r.marker is None} == {"jax", "jaxlib", "numpy", "optax"}


def test_the_package_says_that_it_is_typed():
    assert importlib.resources.files("jgmm").joinpath("py.typed").is_file()


def test_an_import_loads_no_heavy_optional_package():
    program = "import sys, jgmm; print(*{'matplotlib', 'sklearn', 'scipy.stats'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


def test_the_top_level_holds_only_what_it_should():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tops = {line.split("/")[0].strip('"') for line in tracked.splitlines()}
    assert {name for name in tops if not name.startswith(".")} <= TOP_LEVEL
