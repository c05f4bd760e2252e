"""Where the SystemVerilog lies, and which files a module needs.

The files of the folder that $COSPARSE_RTL_OVERLAY names stand in for those of the same name.

One module a file, so a file is needed where its name is written in another one that is. Comments do
not count.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cosparse.spec
from cosparse.spec.errors import InputError, unknown_name

_PACKAGE = Path(cosparse.spec.__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "_data" / "rtl"

RTL = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "rtl"
"""Folder of the modules: of the installed wheel, else of the checkout."""

BENCHES = RTL / "tb"
"""Folder of the benches: wrappers, C++ and cocotb modules."""

OVERLAY = "COSPARSE_RTL_OVERLAY"

_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\w$`\']+|\S')
_LABEL = re.compile(r"\b(endmodule|endpackage) : \w+")
_WORD = re.compile(r"[A-Za-z_]\w*")
_PORT = re.compile(r"^\s*(?:input|output|inout)\b[^,;)]*?(\w+)\s*(?:,|\)|$)", re.MULTILINE)


def folders() -> tuple[Path, ...]:
    """Where a design looks for its files, unless it says otherwise."""
    return (*modules(), BENCHES)


def modules() -> tuple[Path, ...]:
    """Where the modules lie: the folders without the benches."""
    overlay = os.environ.get(OVERLAY)
    return (*([Path(overlay)] if overlay else []), RTL)


def closure(top: str, folders: Sequence[Path]) -> tuple[Path, ...]:
    """Files of `top` and of everything that it names, packages first.

    Of two files of one name, the one in the earlier folder is taken.
    """
    library = _library(folders)
    if top not in library:
        raise InputError(unknown_name("RTL module", top, library))
    needed: dict[str, Path] = {}
    _collect(top, library, needed)
    return tuple(sorted(needed.values(), key=lambda path: (not path.stem.endswith("_pkg"), path)))


def ports(source: Path) -> tuple[str, ...]:
    """Names of the ports in the header of a module that declares one port a line."""
    header = code(source).split(");", 1)[0]
    return tuple(_PORT.findall(header))


def _library(folders: Sequence[Path]) -> dict[str, Path]:
    return {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.sv"))}


def _collect(name: str, library: dict[str, Path], needed: dict[str, Path]) -> None:
    needed[name] = library[name]
    for word in _words(library[name]):
        if word in library and word not in needed:
            _collect(word, library, needed)


def _words(source: Path) -> Iterator[str]:
    return (match.group() for match in _WORD.finditer(code(source)))


def code(source: Path) -> str:
    """Text of a source without its comments."""
    return _COMMENT.sub(lambda match: match[1] or "", source.read_text())


def meaning(source: Path) -> str:
    """Tokens of a source: the same text before and after a change of comments, layout or end labels.

    What is kept by a digest of it stays valid when only such things change.
    """
    return _LABEL.sub(r"\1", " ".join(_TOKEN.findall(code(source))))
