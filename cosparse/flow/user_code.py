"""Code that a scenario names: importing it, and telling its failures from ours.

Nothing here asks for permission; `resolve_network` does, before it imports anything.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosparse.spec import CosparseError, InputError, RunError
from cosparse.spec.errors import nearest

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_OURS = tuple(f"{_PACKAGE_ROOT / name}/" for name in ("cosparse", "algos", "kernels", "hwsim"))
_INSTALLED = ("site-packages", "dist-packages")


@contextmanager
def blame(name: str, folder: Path) -> Iterator[None]:
    """Turn an exception out of the user's code into a RunError that names file and line.

    name: `package.module:function`; folder: the scenario's. An exception whose innermost frame, of
    the user's frames and ours, is ours passes through as it is: that is our bug.
    """
    try:
        yield
    except CosparseError:
        raise
    except (Exception, SystemExit) as error:  # user code must not end the run as a success
        place = _place(error, name.partition(":")[0].partition(".")[0], folder)
        if place is None:
            raise
        raise RunError(
            f"'{name}' raised {type(error).__name__}: {error_line(error)} ({place})"
        ) from error


def error_line(error: BaseException) -> str:
    """First line of an exception's text: torch appends pages."""
    return str(error).strip().partition("\n")[0]


def import_function(name: str, folder: Path, path: Path | None) -> Callable[..., Any]:
    """The function `package.module:function`. Raises InputError where there is none.

    path: the module's file beside the scenario, or None for an installed one.
    """
    module_name, _, function_name = name.partition(":")
    try:
        with blame(name, folder):
            module = _import_module(module_name, folder, path)
    except ImportError as error:
        raise InputError(
            f"'{name}': cannot import '{module_name}' from {folder} or the installed packages: "
            f"{error}"
        ) from error
    except SyntaxError as error:
        raise InputError(f"'{name}': {error.filename}:{error.lineno}: {error.msg}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise InputError(
            f"'{name}': module '{module_name}' has no function "
            f"'{function_name}'{nearest(function_name, names)}"
        )
    return function  # type: ignore[no-any-return]


def _import_module(module_name: str, folder: Path, path: Path | None) -> Any:
    """The module beside the scenario, executed afresh, else an installed one."""
    if path is None:
        return importlib.import_module(module_name)
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickles look their module up
    sys.path.insert(0, str(folder))  # its own imports of files beside it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    finally:
        sys.path.remove(str(folder))
    return module


def _place(error: BaseException, package: str, folder: Path) -> str | None:
    """`file:line` of the user's frame that the exception came through last, if none of ours did."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            return None
        beside = Path(file).is_relative_to(folder) and not any(p in file for p in _INSTALLED)
        if beside or frame.f_globals.get("__name__", "").partition(".")[0] == package:
            return f"{file}:{line}"
    return None
