"""A JSON header and arrays in one file: written whole or not at all, read with its sizes checked first.

The file is NumPy's npz, a zip archive of one ``.npy`` for each array, with one part more, the header:

    jgmm.json   {"format": "jgmm", "format_version": 1, "jgmm_version": "0.1.0", "tree": ...}

Parts lie uncompressed. So none of them is larger than the file, and no small file can ask for much memory.
"""

import contextlib
import errno
import glob
import io
import json
import math
import os
import secrets
import shutil
import sys
import zipfile
from typing import Any

import numpy as np

from jgmm._base.pytree import public

try:
    import fcntl
except ImportError:  # on Windows
    fcntl: Any = None

FORMAT = 1
HEADER = "jgmm.json"
MOST_HEADER = 2**24  # bytes: some 100,000 arrays
MOST_PREFIX = 2**14  # bytes of an .npy before its numbers
ENCRYPTED = 1


@public
class FileError(ValueError):
    """A file is none that `jgmm.load` can read: damaged, of a newer version, or no file of `jgmm.save`."""


@contextlib.contextmanager
def replacing(path):
    """A new file that takes the place of ``path`` when it is whole and on the disk; else the old one stays."""
    target = os.path.realpath(os.fsdecode(path))  # a link goes on pointing to what it points to
    _check_target(target)
    folder = os.path.dirname(target)  # only within a folder is replacing one step
    _remove_left(folder)
    temporary, file = _temporary(folder)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.path.exists(target):
                shutil.copymode(target, temporary)
            if not fcntl:
                file.close()  # Windows renames no open file
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _temporary(folder):
    """The name of a new file, and the file, locked as long as it is open: a killed process holds no lock."""
    while True:
        name = os.path.join(folder, f".jgmm-{secrets.token_hex(8)}.tmp")
        file = open(name, "xb")  # noqa: SIM115 (not `tempfile`, whose files nobody else may read)
        with contextlib.suppress(OSError):  # of a file system without locks
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(name):
            return name, file
        file.close()  # another process was faster to lock it, and removed it


def _remove_left(folder):
    """Remove the files of writers that were killed: those that can be locked."""
    left = os.path.join(glob.escape(folder), ".jgmm-*.tmp")
    for name in glob.glob(left) if fcntl else ():
        with contextlib.suppress(OSError), open(name, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name)


def _check_target(target):
    """Raise where opening the file to write would: replacing it asks only whether the folder can be written."""
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "Not an ordinary file", target)
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)


def write(file, tree, arrays: dict[str, np.ndarray]):
    """Write a header with this ``tree`` and the arrays by their names. The same trees make the same bytes."""
    header = {
        "format": "jgmm",
        "format_version": FORMAT,
        "jgmm_version": sys.modules["jgmm"].__version__,  # which is above no room
        "tree": tree,
    }
    text = json.dumps(header, allow_nan=False).encode()
    if len(text) > MOST_HEADER:
        raise ValueError(
            f"The tree must have a header of at most {MOST_HEADER} bytes, got {len(text)} for {len(arrays)} arrays. "
            "Stack its arrays, with jax.tree.map(lambda *x: jnp.stack(x), *trees), or save it in several files."
        )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), text)  # of no date
        for name, array in arrays.items():
            little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as part:
                np.lib.format.write_array(part, little, version=(1, 0), allow_pickle=False)


class Reader:
    """The header of an open file, and its arrays, each of which can be had once.

    Raises:
        FileError: what the file says of itself does not agree. Other exceptions of `zipfile` and `json` mean the same.
    """

    def __init__(self, file):
        if file.read(4) != b"PK\3\4":
            raise FileError("it is empty, or no file that jgmm.save wrote")
        self.archive = zipfile.ZipFile(file)
        self.parts = _parts(self.archive, os.fstat(file.fileno()).st_size)
        self.header = _header(self.archive, self.parts.pop(HEADER, None))

    def array(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The array of this name, dtype and shape."""
        part = self.parts.pop(f"{name}.npy", None)
        if part is None:
            raise FileError(f"its array {name!r} is missing, or asked for twice")
        bytes_needed = math.prod(shape) * dtype.itemsize
        said = f"its array {name!r} must hold {bytes_needed} bytes, {dtype} {shape},"
        if not 0 <= part.file_size - bytes_needed <= MOST_PREFIX:
            raise FileError(f"{said} and its part of the file has {part.file_size}")
        content = self.archive.read(part)
        stream = io.BytesIO(content)
        if np.lib.format.read_magic(stream) != (1, 0):
            raise FileError(f"its array {name!r} must be an .npy of version 1.0")
        little = dtype.newbyteorder("<")
        found, by_column, kind = np.lib.format.read_array_header_1_0(stream)
        if (found, by_column, kind) != (shape, False, little) or len(content) - stream.tell() != bytes_needed:
            raise FileError(f"{said} and it holds {len(content) - stream.tell()}, {kind} {found}")
        return np.ndarray(shape, little, content, stream.tell()).astype(dtype)  # a copy: what comes back can be changed

    def check_end(self):
        """Raise unless every array was asked for."""
        if self.parts:
            raise FileError(f"its header does not speak of {sorted(self.parts)[:10]}")


def _parts(archive, size):
    """{name: part} of the archive, none of which takes more than the ``size`` of the file."""
    parts = {part.filename: part for part in archive.infolist()}
    if len(parts) < len(archive.infolist()):
        raise FileError("two of its parts have the same name")
    for part in parts.values():
        stored = part.compress_type == zipfile.ZIP_STORED and part.file_size == part.compress_size
        if not stored or part.flag_bits & ENCRYPTED:
            raise FileError(f"its part {part.filename!r} is compressed or encrypted, which jgmm.save writes none")
    total = sum(part.file_size for part in parts.values())
    if total > size:
        raise FileError(f"its parts have {total} bytes, more than the {size} of the file")
    return parts


def _header(archive, part):
    if part is None:
        raise FileError(f"it is an archive without {HEADER}, not one of jgmm.save")
    if part.file_size > MOST_HEADER:
        raise FileError(f"its header must have at most {MOST_HEADER} bytes, and has {part.file_size}")
    header = json.loads(archive.read(part), parse_constant=_no_constant, object_pairs_hook=_unique)
    if not isinstance(header, dict) or header.get("format") != "jgmm" or "tree" not in header:
        raise FileError("its header is not one of jgmm.save")
    version = header.get("format_version")
    if type(version) is not int or version < 1:
        raise FileError(f"its header says version {version!r} of the format, which there is none")
    if version > FORMAT:
        raise FileError(
            f"it has version {version} of the format, written by jgmm {header.get('jgmm_version')}, and this jgmm "
            f"reads up to {FORMAT}. Use a newer one: pip install -U jgmm"
        )
    return header


def _no_constant(name):
    raise FileError(f"its header holds {name}, which is no JSON")


def _unique(pairs):
    table = dict(pairs)
    if len(table) < len(pairs):
        raise FileError("its header names something twice")
    return table
