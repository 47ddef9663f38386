"""A function of a benchmark in a process of its own.

The threads of a library spin on for a while after their work, and slow what is timed after them in the same process up
to twofold. So each library is timed alone, in a process that ends before the next begins.

    python tests/benchmarks/alone.py MODULE FUNCTION [ARGUMENT ...]     # arguments and result are JSON
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path


def alone(function, *arguments, **env):
    """What ``function(*arguments)`` returns in a fresh process, with these environment variables; all of it JSON."""
    module = Path(function.__code__.co_filename).stem  # its ``__module__`` may be "__main__"
    command = [sys.executable, __file__, module, function.__name__, *map(json.dumps, arguments)]
    done = subprocess.run(command, env=os.environ | env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # a library may print before it


if __name__ == "__main__":
    _, module, function, *arguments = sys.argv
    print(json.dumps(getattr(importlib.import_module(module), function)(*map(json.loads, arguments))))
