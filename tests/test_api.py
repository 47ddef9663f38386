"""The API reference builds without a warning, and every public name is on its page."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

from test_docstrings import MODULES

ROOT = Path(__file__).parents[1]


def test_the_reference_is_written_by_the_command_that_the_readme_gives(tmp_path):
    (command,) = re.findall(r"python (tests/api\.py) build/api`", (ROOT / "README.md").read_text())
    run = [sys.executable, "-W", "error", command, str(tmp_path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    for name, module in MODULES.items():
        page = (tmp_path / f"{name.replace('.', '/')}.html").read_text()
        for public in module.__all__:
            if not inspect.ismodule(getattr(module, public)):
                assert f'id="{public}"' in page, f"{name}.{public}"
    signature = re.sub(r"<[^>]+>", "", (tmp_path / "jgmm.html").read_text())
    assert "X: ArrayLike" in signature
    assert "jaxlib._jax" not in signature
