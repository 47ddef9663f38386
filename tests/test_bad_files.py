"""Files that are damaged, of another version, or made to do harm: one clear error, nothing run, little allocated."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import raises
from test_files import rewrite
from values import assert_same

import jgmm

PARAMS = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
TREE = {"params": PARAMS, "stop": jgmm.LogProbStop(1e-3), "key": jax.random.key(0), "flag": np.array([True, False])}
SMALL = [jgmm.Spherical(jnp.ones(1)), None]
MEGABYTE = 2**20


@pytest.fixture
def path(tmp_path):
    """Of a file in good order."""
    jgmm.save(tmp_path / "model.npz", TREE)
    return tmp_path / "model.npz"


def refused(path, *parts, most=MEGABYTE):
    """Assert that loading is the error, with these words, and takes no more memory."""
    tracemalloc.start()
    try:
        raises(jgmm.FileError, [f"{path} cannot be loaded: ", *parts], jgmm.load, path)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_a_file_of_any_other_length_is_an_error(path):
    jgmm.save(path, SMALL)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(jgmm.FileError):
            jgmm.load(path)


def test_a_flipped_bit_is_an_error_or_changes_nothing(path):
    """What zip does not check are dates and such, which say nothing about the tree."""
    jgmm.save(path, SMALL)
    content = path.read_bytes()
    harmless = 0
    for place in range(len(content)):
        for bit in (0, 5):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            try:
                assert_same(jgmm.load(path), SMALL)
                harmless += 1
            except jgmm.FileError:
                pass
    assert harmless < len(content) / 2  # of twice as many


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4" * 100, b"text\n", bytes(1000)], ids=repr)
def test_what_is_no_archive_is_an_error(content, path):
    path.write_bytes(content)
    refused(path)


class Harm:
    """Runs a command where it is unpickled."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


def test_no_pickle_is_run(path):
    harm = Harm(path.with_name("victim"))
    path.write_bytes(pickle.dumps(harm))
    refused(path, "no file that jgmm.save wrote")
    np.savez(path, means=np.array([harm]))
    refused(path, "an archive without jgmm.json")
    jgmm.save(path, np.ones(1))
    objects = io.BytesIO()
    np.save(objects, np.array([harm]))
    for kind in ("float64", "object", "O"):
        rewrite(path, lambda header, kind=kind: header["tree"].update(dtype=kind))
        replace(path, "array.npy", objects.getvalue())
        refused(path, "array")
    assert os.listdir(path.parent) == [path.name]


def replace(path, name, content, **options):
    """Write the archive anew, with other content of one part."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for part, value in (parts | {name: content}).items():
            archive.writestr(part, value)


@pytest.mark.parametrize("name", ["jgmm.json", "params.means.npy", "more.npy"])
def test_a_zip_bomb_is_not_unpacked(name, path):
    replace(path, name, bytes(100 * MEGABYTE), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < MEGABYTE
    refused(path, "is compressed or encrypted")


def test_parts_that_overlap_are_not_unpacked(path):
    """A thousand entries for the same megabyte."""
    jgmm.save(path, np.zeros(MEGABYTE // 8))
    content = path.read_bytes()
    end = content.rindex(b"PK\5\6")
    size, start = struct.unpack("<II", content[end + 12 : end + 20])
    directory = content[start : start + size]
    last = directory[directory.rindex(b"PK\1\2") :]
    more = b"".join(last.replace(b"array.npy", b"%09d" % index) for index in range(1000))
    tail = struct.pack("<HHII", 1002, 1002, size + len(more), start)
    path.write_bytes(content[:start] + directory + more + content[end : end + 8] + tail + b"\0\0")
    refused(path, "more than the", most=3 * MEGABYTE)


@pytest.mark.parametrize("shape", [[2**40], [2**20, 2**20, 2**20], [2**62, 2**62], [0, 2**70], [2**70, 0], [1] * 70])
def test_an_absurd_size_is_not_allocated(shape, path):
    def claim(header):
        means = header["tree"]["items"][0][1]["fields"]["means"]
        means["shape"] = shape

    rewrite(path, claim)
    refused(path, "params.means")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": tuple(shape)})
    replace(path, "params.means.npy", header.getvalue() + bytes(16))
    refused(path)


def test_a_directory_that_claims_more_than_the_file_has_is_an_error(path):
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\1\2")
    content[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    refused(path, "more than the")


def npy(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


OTHER_ARRAYS = {
    "another shape": npy(np.zeros((2, 1))),
    "another dtype": npy(np.zeros((1, 2), "i8")),
    "by column": npy(np.asfortranarray(np.zeros((2, 2)))),
    "big-endian": npy(np.zeros((1, 2), ">f8")),
    "records": npy(np.zeros((1, 2), "f4,f4")),
    "version 2": npy(np.zeros((1, 2)), (2, 0)),
    "more bytes": npy(np.zeros((1, 2))) + b"\0",
    "no npy": bytes(200),
    "empty": b"",
    "no header": b"\x93NUMPY\1\0\x76\0" + b"(" * 118 + bytes(16),
    "a program for a header": b"\x93NUMPY\1\0\x76\0" + b"__import__('os').abort()".ljust(118) + bytes(16),
}


@pytest.mark.parametrize("name", OTHER_ARRAYS)
def test_an_array_that_is_not_what_the_header_says_is_an_error(name, path):
    replace(path, "params.means.npy", OTHER_ARRAYS[name])
    refused(path)


def test_truth_values_are_two(path):
    replace(path, "flag.npy", npy(np.array([1, 2], "u1").view(bool)))
    refused(path, "'flag' holds truth values other than 0 and 1")


def test_a_newer_version_says_what_to_do(path):
    rewrite(path, lambda header: header.update(format_version=2, jgmm_version="9.1", tree={"type": "new"}))
    refused(path, "version 2 of the format, written by jgmm 9.1, and this jgmm reads up to 1", "pip install -U jgmm")


HEADERS = {  # how the header is changed, and what is said of it
    "no format": (lambda h: h.pop("format"), "its header is not one of jgmm.save"),
    "another format": (lambda h: h.update(format="other"), "its header is not one of jgmm.save"),
    "no tree": (lambda h: h.pop("tree"), "its header is not one of jgmm.save"),
    "version 0": (lambda h: h.update(format_version=0), "says version 0"),
    "version true": (lambda h: h.update(format_version=True), "says version True"),
    "version in a string": (lambda h: h.update(format_version="1"), "says version '1'"),
    "NaN": (lambda h: h.update(tree=float("nan")), "holds NaN, which is no JSON"),
    "a bare list": (lambda h: h.update(tree=[1]), "holds [1], which jgmm.save does not write"),
    "a long list": (lambda h: h.update(tree=[1] * 999), "1, 1..., which"),
    "nothing of the arrays": (lambda h: h.update(tree=None), "does not speak of ["),
    "a node without a type": (lambda h: h.update(tree={"fields": {}}), "which jgmm.save does not write"),
    "a float that is none": (
        lambda h: h.update(tree={"type": "float", "value": "1e3"}),
        "which jgmm.save does not write",
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none_is_an_error(name, path):
    change, said = HEADERS[name]
    rewrite(path, change)
    refused(path, said, most=2 * MEGABYTE)


@pytest.mark.parametrize("levels", [100, 300, 450, 600, 100_000])
def test_a_header_that_goes_deep_is_an_error(levels, path):
    """Deeper than there are arrays, than a tree can be made, than JSON can be read."""
    tree = b'{"type": "list", "items": [' * levels + b"null" + b"]}" * levels
    replace(path, "jgmm.json", b'{"format": "jgmm", "format_version": 1, "tree": %b}' % tree)
    refused(path, "RecursionError" if levels > 450 else "", most=16 * MEGABYTE)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"{", b'{"format": "jgmm", "format": "jgmm"}', b"9" * 5000])
def test_a_header_that_is_no_json_is_an_error(text, path):
    replace(path, "jgmm.json", text)
    refused(path)


OTHER_TYPES = {
    "os.system": "it holds a os.system, which this jgmm does not have",
    "jgmm.fit": "it holds a jgmm.fit,",
    "jgmm._files.store.load": "it holds a jgmm._files.store.load,",
    "builtins.print": "",
    "jgmm.Covariance": "its jgmm.Covariance has the fields",
    "jgmm.FitError": "its jgmm.FitError has the fields",
    "jgmm.Status": "its jgmm.Status has the fields",
    "jgmm.Full": "its jgmm.Full has the fields ['tol'], and should have ['cov']",
    "jgmm.GMM": "its jgmm.GMM has the fields",
    "own.Mine": "a class of your own, Mine. Hand it over: jgmm.load(path, types=(Mine,))",
    "list": "",
    "": "",
}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_another_type_is_an_error(name, path):
    jgmm.save(path, jgmm.LogProbStop(1e-3))
    rewrite(path, lambda header: header["tree"].update(type=name))
    refused(path, OTHER_TYPES[name])


@pytest.mark.parametrize("value", [3.0, "a", 99, None, [1]], ids=repr)
def test_a_status_is_one_of_the_table(value, path):
    jgmm.save(path, jgmm.Status.STALLED)
    rewrite(path, lambda header: header["tree"].update(value=value))
    refused(path)


@pytest.mark.parametrize("changes", [{}, {"weights": 1, "more": 2}, {"weights": 1}], ids=repr)
def test_fields_are_those_of_the_class(changes, path):
    jgmm.save(path, jgmm.GMM(1, 2, 3))
    rewrite(path, lambda header: header["tree"].update(fields=changes))
    refused(path)


def test_a_choice_is_no_array(path):
    jgmm.save(path, {"rule": jgmm.Anderson(3), "array": np.ones(2)})
    rewrite(path, lambda header: swap(header["tree"]["items"]))
    refused(path, "unhashable")


def swap(items):
    items[0][1]["fields"]["memory"] = items.pop()[1]


NODES = {
    "a size that is none": {"shape": [-1]},
    "a size in a float": {"shape": [2.0]},
    "a truth value for a size": {"shape": [True]},
    "no shape": {"shape": None},
    "a dtype of NumPy's that is not ours": {"dtype": "datetime64"},
    "a dtype that is none": {"dtype": "import os"},
    "held by nobody": {"held": "torch"},
    "another name": {"name": "../../etc/passwd"},
    "a name that is none": {"name": 3},
    "half as many bytes": {"dtype": "float32"},
}


@pytest.mark.parametrize("name", NODES)
def test_an_array_that_is_described_as_none_can_be_is_an_error(name, path):
    jgmm.save(path, np.ones(2))
    rewrite(path, lambda header: header["tree"].update(NODES[name]))
    refused(path, "array")


@pytest.mark.parametrize(
    "changes", [{"impl": "os"}, {"impl": "rbg"}, {"data": None}, {"data": {"type": "list"}}], ids=repr
)
def test_a_key_that_is_none_is_an_error(changes, path):
    jgmm.save(path, jax.random.key(0))
    rewrite(path, lambda header: header["tree"].update(changes))
    refused(path)


def test_an_array_can_be_asked_for_once(path):
    """A header of a few bytes an array would else make many of one."""
    jgmm.save(path, [np.ones(2)])
    rewrite(path, lambda header: header["tree"].update(items=header["tree"]["items"] * 1000))
    refused(path, "'0' is missing, or asked for twice")


def test_two_parts_of_one_name_are_an_error(path):
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("flag.npy", npy(np.array([False, False])))
    refused(path, "two of its parts have the same name")


@pytest.mark.parametrize("key", ["a", None], ids=repr)
def test_two_items_of_one_key_are_an_error(key, path):
    jgmm.save(path, {"a": 1})
    rewrite(path, lambda header: header["tree"].update(items=[[key, 1], [key, 2]]))
    refused(path, "a second one")


@pytest.mark.parametrize("items", [[1], [[1]], [["a", 1, 2]], [[[1], 2]], [[1.5, 2]], {}, None], ids=repr)
def test_items_are_pairs(items, path):
    jgmm.save(path, {})
    rewrite(path, lambda header: header["tree"].update(items=items))
    refused(path)


def nodes(tree):
    """Every dict and list of a header, outermost first."""
    yield tree
    for child in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(child, (dict, list)):
            yield from nodes(child)


def test_a_header_changed_at_random_is_an_error_or_a_tree(path):
    """Nothing but `FileError` ever comes out."""
    rng = np.random.default_rng(0)
    [header] = [json.loads(zipfile.ZipFile(path).read("jgmm.json"))]
    junk = [None, True, -1, 2**70, 0.5, "", "jgmm.GMM", "array", "float32", [], {}, [[1, 2]], {"type": "tuple"}]
    refusals = 0
    for _ in range(400):
        changed = json.loads(json.dumps(header))
        places = [node for node in nodes(changed["tree"]) if node]
        place = places[rng.integers(len(places))]
        slot = list(place)[rng.integers(len(place))] if isinstance(place, dict) else int(rng.integers(len(place)))
        place[slot] = junk[rng.integers(len(junk))]
        replace(path, "jgmm.json", json.dumps(changed))
        try:
            jgmm.load(path)
        except jgmm.FileError:
            refusals += 1
    assert refusals > 200


def test_trouble_with_the_disk_is_told_as_such(path, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(zipfile.ZipFile, "read", broken)
    raises(OSError, ["Input/output error"], jgmm.load, path)


def test_a_tree_of_wrong_numbers_is_told_by_who_uses_it(path):
    """A file is a way to hand over a tree, like a constructor: neither asks whether it is a mixture."""
    jgmm.save(path, jgmm.GMM(jnp.ones(2), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1))))
    raises(ValueError, ["weights (k,) and means (k, d)", "(2,) and (1, 2)"], jgmm.load(path).check)
