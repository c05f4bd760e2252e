"""What may be set of a method beside its pattern: fields of its schedule and of its structure.

What tells the rows of METHODS apart (a decay's kind, guided or not, a dictionary's training) is no option.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from cosparse.spec.errors import InputError, unknown_name

from .factorized.structures import Initialisation
from .methods import Method
from .schedules import MASK_DECAYS


@dataclass(frozen=True)
class Option:
    """kind: the type of its values, a whole number being a float too. fits: whether a value is one."""

    kind: type
    fits: Callable[[Any], bool]
    expected: str
    summary: str


def _share(value: float) -> bool:
    return 0 < value <= 1


def _positive(value: float) -> bool:
    return value > 0


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


_SHARE = "a share above 0, at most 1"
OPTIONS: dict[str, Option] = {
    "dense": Option(float, lambda value: 0 <= value < 1, "a share from 0, below 1",
                    "schedules: share of the steps before pruning begins"),
    "final": Option(float, _share, _SHARE, "schedules: share of the steps in the pattern itself, at the end"),
    "rate": Option(float, _positive, "a number above 0",
                   "mask decays: beta, a step; without it the decay ends with its stage"),
    "proximal": Option(float, _positive, "a number above 0", "block-prox: strength of the proximal step"),
    "ratio": Option(float, _share, _SHARE, "factors: inner width (rank, atoms) over min(in, out)"),
    "initialisation": Option(str, lambda value: value in get_args(Initialisation),
                             " or ".join(get_args(Initialisation)), "factors: how they start"),
    "blocks": Option(int, _positive, "at least 1", "block-dense, block-shuffle: diagonal blocks of a factor"),
    "saves_work": Option(bool, _flag, "true or false",
                         "guided: the guide is left out of a step as often as its share has fallen"),
    "nonzeros": Option(int, _positive, "at least 1",
                       "dsformer: entries of each row of S, in place of the pattern"),
    "alternations": Option(int, _positive, "at least 1", "dsformer: rounds of the initial factorisation"),
    "every": Option(int, _positive, "at least 1", "dsformer-weight: forwards between factorisations"),
    "alpha": Option(float, _positive, "a number above 0", "sltrain: scale of the low-rank part"),
    "density": Option(float, _share, _SHARE, "sltrain: share of the entries in the sparse part"),
}  # fmt: skip
"""By name; which of them a method has is what `options_of` says."""


def options_of(method: Method) -> dict[str, Any]:
    """The options that a method has, with its own values."""
    found: dict[str, Any] = {"proximal": method.proximal} if method.proximal else {}
    for part in (method.schedule, method.structure):
        if part is not None:
            found |= {field.name: getattr(part, field.name) for field in fields(part)}
    without = {
        "dense": found.get("decay") == "none",  # dense until the final stage anyway
        "rate": found.get("decay") not in MASK_DECAYS,
        "saves_work": not found.get("guided"),
        "every": found.get("training") != "weight",
        "density": found.get("support") != "random",
    }
    return {
        name: value
        for name, value in found.items()
        if name in OPTIONS and not without.get(name, False)
    }


def with_options(method: Method, options: Mapping[str, Any]) -> Method:
    """The same method with some options set.

    Raises InputError for one that the method does not have and for a value that it cannot have.
    """
    own = options_of(method)
    for name, value in options.items():
        if name not in own:
            raise InputError(unknown_name(f"option of method '{method.name}'", name, own))
        _check(name, value)
    chosen = {name: _plain(name, value) for name, value in options.items()}
    return replace(
        method,
        proximal=chosen.get("proximal", method.proximal),
        schedule=_changed(method.schedule, chosen),
        structure=_changed(method.structure, chosen),
    )


def _check(name: str, value: Any) -> None:
    option = OPTIONS[name]
    kinds = (int, float) if option.kind is float else (option.kind,)
    if type(value) not in kinds or not option.fits(value):
        raise InputError(f"{name}: expected {option.expected}, got {value!r} ({option.summary})")


def _plain(name: str, value: Any) -> Any:
    return float(value) if OPTIONS[name].kind is float else value


def _changed(part: Any, options: Mapping[str, Any]) -> Any:
    if part is None:
        return None
    names = {field.name for field in fields(part)}
    return replace(part, **{name: value for name, value in options.items() if name in names})
