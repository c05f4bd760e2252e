"""Every error that cosparse raises on purpose.

    CosparseError
    ├── InputError               what the user gave cannot be used        (exit code 2)
    │   ├── ScenarioError        a scenario; carries all of its problems
    │   ├── PatternError         a pattern that does not exist or does not fit
    │   ├── ShapeError           an array or tensor of the wrong shape or dtype
    │   ├── DataError            data or a checkpoint that cannot be trained on (NaN, wrong keys)
    │   ├── ConfigError          an impossible accelerator configuration
    │   ├── ProgramError         an accelerator program that breaks the machine's contract
    │   ├── UnsupportedError     a combination that no executor implements
    │   ├── CorruptFileError     a file of ours that is damaged or truncated
    │   ├── SchemaVersionError   a file of ours in a version that this release does not read
    │   └── TrustError           code named by a scenario, without permission to run it
    └── RunError                 the run itself failed                    (exit code 1)
        └── MissingToolError     a program or package that a feature needs is not installed

A message says what was expected, what was got, where, and which choices are valid.
"""

import difflib
from collections.abc import Iterable


class CosparseError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the command returns."""

    exit_code = 1


class InputError(CosparseError):
    """The user's input cannot be used."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario with one or more problems, each already formatted as `file:line:column: ...`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class PatternError(InputError):
    """A sparsity pattern that does not exist or does not fit a shape."""


class ShapeError(InputError):
    """An array or tensor of the wrong shape or dtype."""


class DataError(InputError):
    """Data or a checkpoint that cannot be used."""


class ConfigError(InputError):
    """An accelerator configuration that breaks one of its rules."""


class ProgramError(InputError):
    """An accelerator program that is illegal: a limit, a race, a semaphore or an unwritten word."""


class UnsupportedError(InputError):
    """A combination of method, pattern, layer and executor that does not exist."""


class CorruptFileError(InputError):
    """A file that cosparse wrote and that has been damaged since."""


class SchemaVersionError(InputError):
    """A file written in a schema version that this release does not read."""


class TrustError(InputError):
    """A scenario names code to execute and the caller has not allowed it."""


class RunError(CosparseError):
    """The run failed for a reason that is not the user's input."""


class MissingToolError(RunError):
    """A program or package is not installed; the message says what it is for and what installs it."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the closest choice, or an empty string."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""


def unknown_name(what: str, got: object, choices: Iterable[str]) -> str:
    """Return the one sentence used whenever a name is not in a table."""
    names = sorted(choices)
    return f"unknown {what} '{got}'{nearest(str(got), names)} (valid: {', '.join(names)})"
