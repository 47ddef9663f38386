"""Every public name is documented, every argument named, every example run in both precisions."""

import dataclasses
import doctest
import inspect
import re

import jax
import pytest

import jgmm
import jgmm.plot
import jgmm.sklearn

EXTRAS = {"jgmm.plot": jgmm.plot, "jgmm.sklearn": jgmm.sklearn}  # which jgmm does not import
MODULES = {"jgmm": jgmm, "jgmm.init": jgmm.init, "jgmm.resample": jgmm.resample, "jgmm.select": jgmm.select} | EXTRAS
PUBLIC = {f"{prefix}.{name}": getattr(module, name) for prefix, module in MODULES.items() for name in module.__all__}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}


def members(cls):
    """The public methods and properties that a class defines itself."""
    kinds = (property, classmethod, staticmethod)
    return {
        name: value
        for name, value in vars(cls).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))
    }


METHODS = {f"{prefix}.{name}": value for prefix, cls in CLASSES.items() for name, value in members(cls).items()}
DOCUMENTED = CLASSES | FUNCTIONS | METHODS | MODULES

SECTION = re.compile(r"^(\w+):\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
SHAPE = re.compile(r"\((?:|[nkldqr],|history,|[nkldr]|[nkldqr](?:, [nkldqr](?: \+ 1)?)+)\)")
# What an argument of that name must be said to be, wherever it occurs.
SHAPES = {"X": "(n, d)", "sample_weight": "(n,)", "ridge": "(d,)"}


ARTISTS = ["Ellipse", "Line2D", "PathCollection", "Clusters", "Contours", "Curves", "Sweep"]


def sections(value):
    """{heading: text} of a Google docstring."""
    return dict(SECTION.findall(inspect.getdoc(value) + "\n"))


def described(section):
    """{argument: description} of an Args section."""
    parts = re.split(r"^ {4}(\w+): ", section, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_public_name_is_a_function_a_class_or_a_module():
    kinds = set(FUNCTIONS) | set(CLASSES) | set(MODULES) - {"jgmm"} - set(EXTRAS)
    assert kinds == set(PUBLIC)
    assert {"jgmm.fit", "jgmm.init.kmeans"} <= set(FUNCTIONS)
    assert {"jgmm.GMM.check", "jgmm.Result.converged", "jgmm.Full.estimate", "jgmm.Covariance.values"} <= set(METHODS)


@pytest.mark.parametrize("module", MODULES)
def test_all_lists_what_is_public_and_each_name_once(module):
    names = MODULES[module].__all__
    assert len(set(names)) == len(names)
    own = {n for n, v in vars(MODULES[module]).items() if getattr(v, "__module__", "").startswith("jgmm")}
    if module != "jgmm":  # there a module also holds what it imports for its own use
        own = {n for n in own if vars(MODULES[module])[n].__module__ == module}
    assert {n for n in own if not n.startswith("_")} <= set(names)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_has_a_docstring(name):
    value = DOCUMENTED[name]
    text = value.__doc__
    assert text
    assert text.strip()
    # a dataclass without a docstring gets its signature as one
    assert not (inspect.isclass(value) and text.startswith(f"{value.__name__}("))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_its_sections(name):
    needed = {"Returns", "Example"} | ({"Args", "Raises"} if inspect.signature(FUNCTIONS[name]).parameters else set())
    missing = needed - set(sections(FUNCTIONS[name]))
    assert not missing, f"{name} lacks {sorted(missing)}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_described_in_the_order_of_the_signature(name):
    arguments = described(sections(FUNCTIONS[name]).get("Args", ""))
    assert list(arguments) == list(inspect.signature(FUNCTIONS[name]).parameters)


@pytest.mark.parametrize("name", [n for n, c in CLASSES.items() if dataclasses.is_dataclass(c)])
def test_every_field_is_described_in_order(name):
    fields = [field.name for field in dataclasses.fields(CLASSES[name])]
    assert list(described(sections(CLASSES[name])["Args"])) == fields


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_are_given_in_parentheses(name):
    found = sections(FUNCTIONS[name])
    arguments = described(found.get("Args", ""))
    for argument in arguments.keys() & SHAPES.keys():
        assert SHAPES[argument] in arguments[argument], argument
    # what comes back: a shape, or a type whose own docstring gives the shapes
    assert SHAPE.search(found["Returns"]) or re.search(
        rf"`(GMM|Stats|Result|Selection|BootstrapTest|GradientTransformation\w*|{'|'.join(ARTISTS)})`",
        found["Returns"],
    )


@pytest.mark.parametrize("name", [n for n, c in CLASSES.items() if dataclasses.is_dataclass(c) and "Stop" not in n])
def test_every_array_field_has_its_shape(name):
    for field, text in described(sections(CLASSES[name])["Args"]).items():
        assert SHAPE.search(text) or re.search(r"`\w+`", text), field


@pytest.fixture(params=[True, False], ids=["x64", "x32"])
def precision(request):
    """Readers run the examples in either; what is printed must be the same."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield
    jax.config.update("jax_enable_x64", before)


EXAMPLES = {
    name: tests[0]
    for name, value in (FUNCTIONS | CLASSES | METHODS).items()
    if (tests := [t for t in doctest.DocTestFinder(recurse=False).find(value, name, globs={}) if t.examples])
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_prints_what_it_says(name, precision):
    output = []
    test = EXAMPLES[name]
    result = doctest.DocTestRunner(optionflags=0).run(test, out=output.append, clear_globs=False)
    test.globs.clear()
    assert result.attempted
    assert not result.failed, "".join(output)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_that_shows_a_result(name):
    assert name in EXAMPLES
    assert any(example.want for example in EXAMPLES[name].examples)
