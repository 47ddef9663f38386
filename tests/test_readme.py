"""The front page tells the truth: its code runs and prints what it says, its commands are CI's."""

import re
import subprocess
import sys
from pathlib import Path

from compiler import as_users_do

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MARK = "=== end of block ==="
NUM_STEPS = re.compile(r"(?<=after )\d+(?= steps)")  # the last few hang on rounding, and that on the version of XLA


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(script):
    """Run a script as a user would: in JAX's default precision, with XLA's own options."""
    env = {key: value for key, value in as_users_do().items() if key != "JAX_ENABLE_X64"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=280, cwd=ROOT, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tour_prints_what_the_readme_shows():
    code, shown = blocks("python"), blocks("text")
    assert len(code) == len(shown) > 5
    script = "".join(f"{block}\nprint({MARK!r})\n" for block in code)
    printed = run(script).split(MARK + "\n")[:-1]
    assert [NUM_STEPS.sub("", text) for text in printed] == [NUM_STEPS.sub("", text) for text in shown]


def test_the_pictures_it_shows_are_there():
    for name in re.findall(r"!\[[^\]]*\]\((\S+?)\)", README):
        assert (ROOT / name).is_file(), name


def test_ci_runs_the_command_that_the_readme_gives():
    (command,) = re.findall(r"<!-- test-command -->\n```bash\n(.*?)\n```", README)
    script = (ROOT / ".ci" / "run").read_text()
    assert "test-command" in script
    assert "python3 -m venv .venv" in command
    assert "pytest" in command
