"""The pages tell the truth: code runs and prints what they show, links lead somewhere, commands are those of CI."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = sorted((ROOT / "examples" / "guide").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", ROOT / "tests" / "benchmarks" / "README.md", *GUIDES]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"```python\n(.*?)```(?:\n```text\n(.*?)```)?", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
FROM_OUTSIDE = [  # warnings that are not ours
    "ignore:FigureCanvasAgg is non-interactive",
    "ignore:Error reading persistent compilation cache entry",
    "ignore:Error writing persistent compilation cache entry",
]
NUM_STEPS = re.compile(r"(?<=after )\d+(?= steps)")  # the last few hang on rounding, and that on the version of XLA

RUNNER = """
import contextlib, io, json, sys

printed, names = [], {"__name__": "__main__"}
for number, block in enumerate(json.load(sys.stdin)):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(block, f"block {number + 1}", "exec"), names)
    printed.append(output.getvalue())
print(json.dumps(printed))
"""


def blocks(page):
    """The pieces of Python of a page and what each prints, "" where nothing is shown."""
    return BLOCK.findall(page.read_text())


def run(page):
    """What each piece of a page prints, in a process of its own, JAX's default precision, warnings as errors.

    They are compiled with the tests' options, which is fast, and share what is compiled.
    """
    env = dict(os.environ)
    env |= {"MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])}
    env.pop("JAX_ENABLE_X64", None)
    if jax.config.jax_compilation_cache_dir:
        env["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    warnings = ["error", *FROM_OUTSIDE]
    command = [sys.executable, *(f"-W{warning}" for warning in warnings), "-c", RUNNER]
    code = json.dumps([code for code, _ in blocks(page)])
    done = subprocess.run(command, input=code, capture_output=True, text=True, timeout=280, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_prints_what_it_shows(page):
    shown = [NUM_STEPS.sub("", text) for _, text in blocks(page)]
    assert [NUM_STEPS.sub("", text) for text in run(page)] == shown


def test_pages_with_code_are_run():
    assert sum(bool(blocks(page)) for page in PAGES) > 8
    for page in PAGES:
        assert page.read_text().count("```python") == len(blocks(page)), page
        assert page.read_text().count("```text") == sum(bool(text) for _, text in blocks(page)), page


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_pictures_and_files_that_it_links_to_are_there(page):
    links = LINK.findall(page.read_text())
    for link in links:
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page}: {link}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings], link
    assert links


def test_every_guide_is_in_the_list_of_guides():
    listed = set(LINK.findall((ROOT / "examples" / "guide" / "README.md").read_text()))
    assert {page.name for page in GUIDES} - {"README.md"} <= listed


def test_the_front_page_is_short():
    assert len(README.splitlines()) <= 250


def test_ci_runs_the_command_that_the_readme_gives():
    (command,) = re.findall(r"<!-- test-command -->\n```bash\n(.*?)\n```", README)
    script = (ROOT / ".ci" / "run").read_text()
    assert "test-command" in script
    assert "python3 -m venv .venv" in command
    assert "pytest" in command


def test_the_first_command_draws_the_quickstart():
    (first, *_) = re.findall(r"```bash\n(.*?)\n```", README)
    assert '".[examples]"' in first
    assert first.endswith("examples/quickstart.py")
