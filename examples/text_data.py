"""Documents for text_clustering.py: pairs of a category and a text."""

import ast
import csv
from importlib.util import find_spec
from pathlib import Path

from sklearn.datasets import fetch_20newsgroups


def docstrings(package):
    """Docstrings of at least 20 words of a package, each once, the first 100 in the order of the source."""
    path = Path(find_spec(package).origin)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, kinds))
    texts = dict.fromkeys(ast.get_docstring(node) or "" for node in nodes)
    return [(package, text) for text in texts if len(text.split()) >= 20][:100]


def newsgroups():
    """The 20 newsgroups, without what gives them away; scikit-learn downloads and keeps them."""
    news = fetch_20newsgroups(subset="all", remove=("headers", "footers", "quotes"), n_retries=1)
    return [(news.target_names[i], text) for i, text in zip(news.target, news.data, strict=True) if text.strip()]


def read_table(path):
    """The rows of a CSV file with the columns category and text; ValueError where it has none, or an empty one."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"category", "text"} - set(reader.fieldnames or ()):
            raise ValueError(f"it needs the columns category and text, and lacks {' and '.join(sorted(missing))}")
        rows = [(row["category"] or "", row["text"] or "") for row in reader]
    if empty := [i + 1 for i, row in enumerate(rows) if not all(map(str.strip, row))]:
        raise ValueError(f"{len(empty)} rows have no category or no text, the first of them row {empty[0]}")
    return rows
