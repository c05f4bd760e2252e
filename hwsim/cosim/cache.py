"""Results of slow commands, kept in folders named by a digest of everything that went in.

    $COSPARSE_RTL_CACHE, else $XDG_CACHE_HOME/cosparse/rtl, else ~/.cache/cosparse/rtl

Builders that want the same folder wait for one another. A folder appears whole or not at all, with the
digests of its files; one whose files changed since is made again. Folders that nobody used for a month
are deleted.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosparse.spec import InputError

VARIABLE = "COSPARSE_RTL_CACHE"
_UNUSED_SECONDS = 30 * 24 * 3600
_DIGESTS = "digests.json"


def folder() -> Path:
    """Folder of the cache; it need not exist."""
    if own := os.environ.get(VARIABLE):
        return Path(own).resolve()
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(shared) / "cosparse" / "rtl"


def digest(parts: Iterable[object]) -> str:
    """A name for the parts: files by name and contents, all else by its text."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else b""
        total.update(f"{part.name if isinstance(part, Path) else part}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()[:24]


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name`; where it is missing, `make` fills an empty one that then takes its place.

    Raises InputError where the cache cannot be written.
    """
    place = _writable(folder()) / name
    with _locked(place.with_name(f"{name}.lock")):
        if place.is_file():
            place.unlink()
        if _is_damaged(place):
            shutil.rmtree(place)
        if not place.is_dir():
            _delete_unused(place.parent)
            scratch = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=place.parent))
            try:
                make(scratch)
                (scratch / _DIGESTS).write_text(json.dumps(_digests(scratch)))
                scratch.rename(place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        os.utime(place)
    return place


def _is_damaged(place: Path) -> bool:
    """Whether files are not as they were made. A folder without digests has nothing to say."""
    listed = place / _DIGESTS
    if not listed.exists():
        return False
    try:
        return bool(json.loads(listed.read_text()) != _digests(place))
    except (OSError, ValueError):
        return True


def _digests(place: Path) -> dict[str, str]:
    files = sorted(file for file in place.rglob("*") if file.is_file() and file.name != _DIGESTS)
    return {
        str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def _writable(place: Path) -> Path:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(
            f"cannot keep builds in '{place}': {error.strerror}; name another folder in the environment "
            f"variable {VARIABLE}"
        ) from error
    return place


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _delete_unused(place: Path) -> None:
    limit = time.time() - _UNUSED_SECONDS
    for entry in place.iterdir():
        if entry.is_dir() and entry.stat().st_mtime < limit:
            shutil.rmtree(entry, ignore_errors=True)
