"""Write the API reference, from the docstrings, by pdoc: ``pip install ".[docs]"``, then

    python tests/api.py FOLDER

The front page is FOLDER/index.html. A warning is an error.
"""

import inspect
import pkgutil
import re
import sys
import typing
import warnings
from pathlib import Path

import pdoc

import jgmm
from jgmm._base.types import ArrayLike


def where_defined(cls):
    """The module whose source holds a class: all say that they live in ``jgmm``, where pdoc would look in vain."""
    modules = [module for name, module in sys.modules.items() if name.startswith("jgmm.")]
    return next(m for m in modules if re.search(rf"^class {cls.__name__}\b", inspect.getsource(m), re.MULTILINE))


FORMAT = inspect.formatannotation


def annotation(value, *rest, **options):
    """A type as it is written: what makes an array is a union of a dozen types."""
    kinds = set(typing.get_args(value))
    if kinds >= set(typing.get_args(ArrayLike)):
        return " | ".join(["ArrayLike", *(["None"] if type(None) in kinds else [])])
    return FORMAT(value, *rest, **options).replace("jax.jaxlib._jax.", "jax.")


def write(folder):
    """The pages of the package and of its public modules, into a folder."""
    inspect.formatannotation = pdoc.doc.formatannotation = annotation
    modules = ["jgmm", *(f"jgmm.{m.name}" for m in pkgutil.iter_modules(jgmm.__path__) if not m.name.startswith("_"))]
    for name in modules:
        module = __import__(name, fromlist=["__all__"])
        for cls in (getattr(module, name) for name in module.__all__):
            if inspect.isclass(cls) and cls.__module__ == module.__name__:
                cls.__module__ = where_defined(cls).__name__
    pdoc.render.configure(docformat="google", math=True, show_source=False, footer_text=f"jgmm {jgmm.__version__}")
    apart = [name for name in modules[1:] if name.removeprefix("jgmm.") not in jgmm.__all__]
    pdoc.pdoc("jgmm", *apart, output_directory=Path(folder))


if __name__ == "__main__":
    warnings.simplefilter("error")
    write(*sys.argv[1:])
