"""Which sources and tables give the prices: figures of equal versions are comparable."""

import hashlib
from functools import cache
from importlib.resources import files

_PARTS = (
    ("hwsim", (".py", ".yaml")),
    ("hwsim.compile", (".py",)),
    ("cosparse.spec", (".py",)),
)


@cache
def model_version() -> str:
    """SHA-256, in hex, of the sources that decide what a step costs, and of the energy and area tables."""
    digest = hashlib.sha256()
    for package, suffixes in _PARTS:
        for item in sorted(files(package).iterdir(), key=lambda item: item.name):
            if item.name.endswith(suffixes):
                digest.update(f"{package}/{item.name}\n".encode() + item.read_bytes())
    return digest.hexdigest()
