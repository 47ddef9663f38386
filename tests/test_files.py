"""`save` and `load`: what comes back is what went in, and an older file outlives whatever goes wrong."""

import collections
import dataclasses
import enum
import errno
import json
import os
import resource
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import case, raises
from test_user_family import Equicorrelated, UnitVolume
from values import ABSTRACT, CLASSES, NAMES, assert_same, values

import jgmm
from jgmm._files import archive
from jgmm._files.tree import DTYPES

PARAMS = case()[1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def after(tree, path, **options):
    """What comes back."""
    jgmm.save(path, tree)
    return jgmm.load(path, **options)


def test_every_public_class_has_a_value():
    assert {name.split(",")[0] for name in NAMES} | ABSTRACT == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_class_comes_back_bit_for_bit(name, dtype, path):
    value = values(dtype)[name]
    assert_same(after(value, path), value)


def of_random_bits(dtype, shape):
    """Numbers of every kind: NaN with whatever payload, subnormal, infinite."""
    count = int(np.prod(shape))
    if dtype.kind == "b":
        return np.random.default_rng(0).random(shape) < 0.5
    return np.frombuffer(np.random.default_rng(0).bytes(count * dtype.itemsize), dtype).reshape(shape)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 1)], ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_comes_back_bit_for_bit(name, shape, path):
    array = of_random_bits(DTYPES[name], shape)
    tree = {"numpy": array, "jax": jnp.asarray(array)} | ({} if shape else {"scalar": array[()]})
    assert_same(after(tree, path), tree)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys_come_back(impl, path):
    key = jax.random.key(7, impl=impl)
    keys = [key, jax.random.split(key, 3), jax.random.PRNGKey(1)]
    loaded = after(keys, path)
    assert_same(loaded, keys)
    assert jax.random.normal(loaded[0]) == jax.random.normal(key)


@pytest.mark.parametrize(
    "array",
    [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(12.0)[::-2], np.arange(3.0).astype(">f8")],
    ids=["by column", "strided", "big-endian"],
)
def test_how_an_array_lies_in_memory_does_not_matter(array, path):
    loaded = after(array, path)
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == "=f8"
    loaded[0] = 1  # it can be written to


PLAIN = {
    "floats": [0.1, -0.0, 1e-323, 1.7976931348623157e308, float("nan"), float("inf"), -float("inf")],
    "integers": (0, -1, 2**80, True, False, None),
    "strings": ["", "Größe", "\ud800", '"}', "nan", "array"],
    "nested": {"a": {"b": [(), [], {}, ({},)]}, "b": {"a": 1}},
    "keys": {"../../x": 1, "a/b": 2, "": 3, "jgmm.json": 4, "a.b": 5, 0: 6, "0": 7, None: 8, True: 9, "type": 10},
    "order": dict.fromkeys(["z", "a", "m"]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_come_back(name, path):
    loaded = after(PLAIN[name], path)
    assert repr(loaded) == repr(PLAIN[name])


def test_names_that_are_no_names_stay_in_the_archive(path):
    tree = {"../x": np.ones(1), "x": np.zeros(2), "0": np.ones(3), "a.b": np.ones(4), "a": {"b": np.ones(5)}}
    assert_same(after(tree, path), tree)
    assert all("/" not in name for name in zipfile.ZipFile(path).namelist())


def random_tree(rng, depth=4):
    """Anything that can be saved, in anything."""
    kind = rng.integers(8 if depth else 4)
    some = [random_tree(rng, depth - 1) for _ in range(rng.integers(4))] if kind > 3 else []
    name = rng.choice(NAMES)
    return [
        lambda: rng.normal(),
        lambda: jnp.asarray(rng.normal(size=rng.integers(3, size=2))),
        lambda: of_random_bits(DTYPES[rng.choice(list(DTYPES))], tuple(rng.integers(3, size=2))),
        lambda: values("float32")[str(name)],
        lambda: some,
        lambda: tuple(some),
        lambda: dict(enumerate(some)),
        lambda: {f"part{index}": item for index, item in enumerate(some)},
    ][kind]()


@pytest.mark.parametrize("seed", range(20))
def test_random_trees_come_back(seed, path):
    tree = random_tree(np.random.default_rng(seed))
    assert_same(after(tree, path), tree)


def test_a_file_is_numpys_and_the_same_for_the_same_tree(path, tmp_path):
    jgmm.save(path, PARAMS)
    jgmm.save(tmp_path / "again", PARAMS)
    assert path.read_bytes() == (tmp_path / "again").read_bytes()
    arrays = np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(arrays["means"], PARAMS.means)
    header = json.loads(arrays["jgmm.json"])
    assert (header["format"], header["format_version"], header["jgmm_version"]) == ("jgmm", 1, jgmm.__version__)
    assert header["tree"]["type"] == "jgmm.GMM"


def test_a_field_with_a_default_may_be_missing(path):
    """So that a later version may add one."""
    result = values("float32")["Result"]
    jgmm.save(path, dataclasses.replace(result, history=None))
    rewrite(path, lambda header: header["tree"]["fields"].pop("restarts"))
    assert_same(jgmm.load(path), dataclasses.replace(result, history=None))


def rewrite(path, change):
    """Change the header of a file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(parts["jgmm.json"])
    change(header)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {"jgmm.json": json.dumps(header)}).items():
            archive.writestr(name, content)


# Classes of the user's own.

Point = collections.namedtuple("Point", ["x", "label"])


@pytest.mark.parametrize("family", [UnitVolume, Equicorrelated])
def test_a_family_of_the_users_own_comes_back(family, path):
    _, _, X, _ = case()
    params = jgmm.m_step(jgmm.e_step(PARAMS, X), family)
    assert_same(after(params, path, types=(family,)), params)
    assert_same(jgmm.load(path, types=family), params)
    name = family.__name__
    raises(jgmm.FileError, [str(path), f"a class of your own, {name}", f"types=({name},)"], jgmm.load, path)


def test_a_named_tuple_comes_back(path):
    loaded = after([Point(jnp.ones(2), "a")], path, types=[Point])
    assert_same(loaded, [Point(jnp.ones(2), "a")])


def test_a_class_with_the_name_of_a_public_one_is_not_taken_for_it(path):
    own = dataclasses.make_dataclass("Full", ["cov"])
    loaded = after({"own": own(1), "public": jgmm.Full(jnp.ones((1, 1, 1)))}, path, types=(own,))
    assert [type(value) for value in loaded.values()] == [own, jgmm.Full]


def test_two_classes_of_one_name_are_refused(path):
    one, other = (dataclasses.make_dataclass("Own", ["x"]) for _ in range(2))
    raises(TypeError, ["different names", "two Own at 1", "Rename"], jgmm.save, path, [one(1), other(1)])
    assert_same(jax.tree.leaves(after(one(1), path, types=(one, one)).x), [1])
    raises(ValueError, ["different names", "two Own"], jgmm.load, path, types=(one, other))


@pytest.mark.parametrize("bad", [3, "jgmm.GMM", dict, jgmm.GMM(1, 2, 3), print], ids=repr)
def test_types_are_classes(bad, path):
    jgmm.save(path, None)
    raises(TypeError, ["dataclasses or named tuples", "(MyFamily,)", repr(bad)], jgmm.load, path, types=(bad,))


# Without x64 JAX has no arrays of 64 bits.


@pytest.fixture
def x32():
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize("kind", ["float64", "int64", "uint64", "complex128"])
def test_no_digit_is_lost_without_x64(kind, path, x32):
    with jax.enable_x64(True):
        array = jnp.asarray([np.pi, 1e9 + 0.25]).astype(kind)
    jgmm.save(path, [array, jnp.ones(2)])
    loaded, single = jgmm.load(path)
    assert type(loaded) is np.ndarray
    assert (loaded.dtype, loaded.tobytes()) == (kind, np.asarray(array).tobytes())
    assert isinstance(single, jax.Array)


def test_a_mixture_of_64_bits_can_be_used_without_x64(path, x32):
    _, params, X, _ = case()
    jgmm.save(path, params)
    X = np.asarray(X, np.float32)
    density = jgmm.log_prob(jgmm.load(path), X)
    assert density.dtype == "float32"
    np.testing.assert_allclose(density, jgmm.log_prob(params.astype("float32"), X), rtol=1e-6)


# What cannot be saved.


class Colour(enum.IntEnum):
    RED = 1


def endless():
    tree = []
    tree.append(tree)
    return tree


def late():
    """A class that its constructor does not take back."""
    cls = dataclasses.make_dataclass("Late", [("x", int, dataclasses.field(init=False))])
    value = cls()
    value.x = 3
    return value


BAD = {
    "a function": ({"a": [print]}, TypeError, ["builtins.builtin_function_or_method at a.0", "frozen dataclasses"]),
    "a class": (jgmm.GMM, TypeError, ["save takes what jgmm returns", "got builtins.type"]),
    "a set": ({1}, TypeError, ["got builtins.set"]),
    "an enum": (Colour.RED, TypeError, ["Colour"]),
    "a dict that is more": (collections.Counter("a"), TypeError, ["collections.Counter"]),
    "a key": ({"a": {1.5: 2}}, TypeError, ["strings or integers", "got 1.5 at a"]),
    "objects": (jgmm.LogProbStop(np.array([None])), TypeError, ["arrays of numbers", "dtype object at tol", ".astype"]),
    "strings": (np.array(["a"]), TypeError, ["dtype <U1."]),
    "records": (np.zeros(1, "i4,f4"), TypeError, ["arrays of numbers"]),
    "long double": (np.zeros(1, np.longdouble), TypeError, ["arrays of numbers"]),
    "masked": (np.ma.array([1.0], mask=[True]), TypeError, ["without a mask", ".filled(value)"]),
    "bytes": (b"a", TypeError, ["builtins.bytes"]),
    "itself": (endless(), ValueError, ["must not hold itself"]),
    "no constructor": (late(), TypeError, ["Late"]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_saved_is_an_error_and_the_old_file_stays(name, path):
    tree, error, parts = BAD[name]
    jgmm.save(path, 1)
    raises(error, parts, jgmm.save, path, tree)
    assert (jgmm.load(path), os.listdir(path.parent)) == (1, [path.name])


def test_too_many_parts_are_an_error(path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_HEADER", 1000)
    raises(ValueError, ["at most 1000 bytes", "for 20 arrays", "jnp.stack"], jgmm.save, path, [np.zeros(())] * 20)
    assert not os.listdir(path.parent)


def test_a_traced_array_cannot_be_saved(path):
    raises(TypeError, ["outside jit", "at weights"], jax.jit(lambda params: jgmm.save(path, params)), PARAMS)


# How a file is written.


def no_space(*_, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(*_, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["os.fsync", "os.replace", "numpy.lib.format.write_array"])
@pytest.mark.parametrize("trouble", [no_space, interrupted])
def test_the_old_file_stays_when_writing_fails(at, trouble, path, monkeypatch):
    jgmm.save(path, 1)
    monkeypatch.setattr(at, trouble)
    with pytest.raises(KeyboardInterrupt if trouble is interrupted else OSError):
        jgmm.save(path, PARAMS)
    monkeypatch.undo()
    assert (jgmm.load(path), os.listdir(path.parent)) == (1, [path.name])


@pytest.mark.parametrize("most", [0, 10, 400, 20_000, 99_000])
def test_the_old_file_stays_when_the_disk_is_full(most, path):
    jgmm.save(path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            jgmm.save(path, [np.ones(5000), np.ones(8000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (jgmm.load(path), os.listdir(path.parent)) == (1, [path.name])


def test_a_path_that_cannot_be_written_is_an_error(tmp_path, path, monkeypatch):
    raises(FileNotFoundError, ["nowhere"], jgmm.save, tmp_path / "nowhere" / "a.npz", 1)
    raises(IsADirectoryError, [str(tmp_path)], jgmm.save, tmp_path, 1)
    raises(OSError, ["Not an ordinary file"], jgmm.save, os.devnull, 1)
    raises(FileNotFoundError, [str(path)], jgmm.load, path)
    raises(IsADirectoryError, [str(tmp_path)], jgmm.load, tmp_path)
    raises(TypeError, ["int"], jgmm.save, 3, 1)
    raises(TypeError, ["int"], jgmm.load, 3)
    jgmm.save(path, 1)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as it is for all but root, where the file is read-only
    raises(PermissionError, [str(path)], jgmm.save, path, 2)
    assert (jgmm.load(path), os.listdir(tmp_path)) == (1, [path.name])


def test_a_file_has_the_mode_of_a_new_one_or_of_the_old_one(path):
    before = os.umask(0o027)
    try:
        jgmm.save(path, 1)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    jgmm.save(path, 2)
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_link_goes_on_pointing(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    jgmm.save(link, 1)
    jgmm.save(str(link), 2)
    assert link.is_symlink()
    assert jgmm.load(path) == jgmm.load(os.fsencode(link)) == 2


def test_the_transfer_guard_lets_it_through(path):
    tree = [PARAMS, jax.random.key(0), jnp.ones(3, jnp.bfloat16)]
    with jax.transfer_guard("disallow"):
        loaded = after(tree, path)
    assert_same(loaded, tree)


def test_another_process_reads_the_file(path):
    result = values("float32")["Result"]
    jgmm.save(path, result)
    code = f"import jgmm; r = jgmm.load({str(path)!r}); print(r, r.params.means.dtype)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == f"{result} float32", run.stderr
