"""The pages tell the truth: code runs and prints what they show, links lead somewhere, commands are those of CI."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compiler import as_users_do

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = sorted((ROOT / "examples" / "guide").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", ROOT / "tests" / "benchmarks" / "README.md", *GUIDES]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"```python\n(.*?)```(?:\n```text\n(.*?)```)?", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
NUM_STEPS = re.compile(r"(?<=after )\d+(?= steps)")  # the last few hang on rounding, and that on the version of XLA

# All pages in one process, each with names of its own: they share what JAX has compiled.
RUNNER = """
import contextlib, io, json, sys, traceback
import numpy as np

for name, blocks in json.load(sys.stdin).items():
    printed, error, names = [], None, {"__name__": "__main__"}
    with np.printoptions():
        for number, block in enumerate(blocks):
            output = io.StringIO()
            try:
                with contextlib.redirect_stdout(output):
                    exec(compile(block, f"{name}, block {number + 1}", "exec"), names)
            except Exception:
                error = f"block {number + 1}: {traceback.format_exc()}"
                break
            printed.append(output.getvalue())
    print(json.dumps([name, printed, error]), flush=True)
"""


def blocks(page):
    """The pieces of Python of a page and what each prints, "" where nothing is shown."""
    return BLOCK.findall(page.read_text())


def run(pages, env):
    """{page: (what its pieces print, what went wrong or None)}: in JAX's default precision, warnings as errors."""
    env = {**env, "MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    env.pop("JAX_ENABLE_X64", None)
    code = {str(page.relative_to(ROOT)): [code for code, _ in blocks(page)] for page in pages}
    command = [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive", "-c", RUNNER]
    options = {"input": json.dumps(code), "capture_output": True, "text": True, "timeout": 280, "cwd": ROOT, "env": env}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def printed():
    """What every page prints, with XLA's own options, as for its readers."""
    return run(PAGES, as_users_do())


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(page, printed):
    output, error = printed[str(page.relative_to(ROOT))]
    assert error is None, error
    shown = [NUM_STEPS.sub("", text) for _, text in blocks(page)]
    assert [NUM_STEPS.sub("", text) for text in output] == shown


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
