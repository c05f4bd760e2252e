"""The source text of a fixed list of standard-library modules, as bytes.

Split by module or package, never by position: near-duplicate text must not leak into the test part.
The text differs between Python versions, so version and hash are recorded.
"""

import platform
import sysconfig
from pathlib import Path

import numpy as np

from cosparse.spec import DataError

from .dataset import Array, Dataset

_TRAIN = """
argparse asyncio calendar cmd codecs collections concurrent configparser contextlib copy csv
ctypes dataclasses difflib dis doctest email enum filecmp ftplib functools getopt getpass gettext
glob gzip hashlib hmac html http inspect ipaddress json logging mailbox mimetypes multiprocessing
netrc ntpath numbers opcode operator optparse pdb pickle pickletools pkgutil platform poplib
posixpath pprint profile pstats pyclbr pydoc queue quopri random reprlib sched secrets shelve
shlex shutil signal smtplib socket socketserver ssl string subprocess symtable tarfile tempfile
textwrap threading timeit token tokenize trace traceback tracemalloc turtle types typing unittest
urllib uuid warnings wave weakref webbrowser xml xmlrpc zipapp
"""
_TEST = """
bdb fractions heapq imaplib plistlib selectors sqlite3 statistics wsgiref zoneinfo
"""
TRAIN_MODULES = _TRAIN.split()
TEST_MODULES = _TEST.split()


def load_stdlib_bytes() -> Dataset:
    """A byte stream for training (about 5 MB) and one for testing, of different modules."""
    train = _read(TRAIN_MODULES)
    test = _read(TEST_MODULES)
    details = {
        "python": platform.python_version(),
        "train_modules": len(TRAIN_MODULES),
        "test_modules": len(TEST_MODULES),
    }
    return Dataset("bytes", "language", train, train, test, test, 256, details)


def _read(modules: list[str]) -> Array:
    root = Path(sysconfig.get_paths()["stdlib"])
    parts = [path.read_bytes() for name in modules for path in _files(root, name)]
    if not parts:
        raise DataError(f"{root}: expected the standard library's source files, found none")
    return np.frombuffer(b"\n".join(parts), dtype=np.uint8).copy()


def _files(root: Path, module: str) -> list[Path]:
    """Source files of a module or package in a fixed order; none where a version lacks it."""
    single = root / f"{module}.py"
    if single.exists():
        return [single]
    return [
        path
        for path in sorted((root / module).rglob("*.py"))
        if "test" not in path.parts[len(root.parts) :]
    ]
