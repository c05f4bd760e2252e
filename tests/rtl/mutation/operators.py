"""What can be changed in a SystemVerilog source: one generator of edits an operator.

They read text, not syntax: an edit may give code that no longer elaborates, which the campaign drops.
Comments, strings, module headers, parameter checks and assertions are never edited.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Replace text[start:end] by `after`."""

    start: int
    end: int
    after: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.after + text[self.end :]


_HIDDEN = (
    r"//[^\n]*",
    r"\"[^\"\n]*\"",
    r"`ifndef SYNTHESIS.*?`endif",
    r"^(?:module|package)\b.*?^\);",
    r"\bif \([^;]*?\) begin : \w+\s*\$(?:fatal|error)\([^;]*?\);\s*end",
    r"\w+\s*:\s*(?:assert|assume|cover)\b[^;]*;",
    r"\b(?:logic|bit)(?: signed)?\s*\[[^\]]*\]",
)


def code(text: str) -> str:
    """The text with everything that is never edited blanked out, at the same positions."""
    for pattern in _HIDDEN:
        text = re.sub(pattern, lambda match: _blank(match.group()), text, flags=re.S | re.M)
    return text


def without_comments(text: str) -> str:
    """The text with its comments blanked out, at the same positions."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", lambda match: _blank(match.group()), text, flags=re.S)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


_TOKEN = re.compile(
    r"<<<|>>>|\|->|->|=>|<<|>>|<=|>=|===|!==|==|!=|&&|\|\||\+:|-:|\+\+|--|[-+<>&|^]"
)
_PAIRS = (("==", "!="), ("&&", "||"), ("+", "-"), ("&", "|"), ("<<", ">>"))
_SWAPS = {**dict(_PAIRS), **{b: a for a, b in _PAIRS}, "^": "|"}
_BOUNDS = {"<": "<=", ">": ">=", ">=": ">"}  # `<=` is nearly always an assignment


def operator_swap(text: str) -> Iterator[Edit]:
    """== for !=, + for -, & for | and their like."""
    yield from _replace_binary(text, _SWAPS)


def compare_off_by_one(text: str) -> Iterator[Edit]:
    """< for <=, > for >=."""
    yield from _replace_binary(text, _BOUNDS)


def _replace_binary(text: str, table: dict[str, str]) -> Iterator[Edit]:
    for match in _TOKEN.finditer(text):
        has_left_operand = re.search(r"[\w)\]}]\s*$", text[: match.start()])
        if match.group() in table and has_left_operand:
            yield Edit(match.start(), match.end(), table[match.group()])


_SIZED = re.compile(r"\b(\d+)'([bdh])([0-9a-fA-F_]+)")
_PLAIN = re.compile(r"(?<=[-+<>=?:(] )(?<![-+]: )\d+(?![\w'])|(?<=[(+-])\d+(?![\w'])")
_BASES = {"b": 2, "d": 10, "h": 16}
_FORMATS = {"b": "b", "d": "d", "h": "x"}


def constant(text: str) -> Iterator[Edit]:
    """A number one larger or one smaller; not the width of a slice."""
    for match in _SIZED.finditer(text):
        bits, base = int(match[1]), match[2]
        value = int(match[3].replace("_", ""), _BASES[base])
        for other in {(value + 1) % 2**bits, (value - 1) % 2**bits}:
            yield Edit(match.start(), match.end(), f"{bits}'{base}{other:{_FORMATS[base]}}")
    for match in _PLAIN.finditer(text):
        for other in (int(match.group()) + 1, int(match.group()) - 1):
            if other >= 0:
                yield Edit(match.start(), match.end(), str(other))


_IF = re.compile(r"\bif \(")
_CHOICE = re.compile(r"(?<=[=(:,?{] )\b[a-z]\w*(?=\s*\? )")


def condition_negation(text: str) -> Iterator[Edit]:
    """if (not the condition), and the other branch of a choice."""
    for match in _IF.finditer(text):
        end = _closing(text, match.end())
        if not re.match(r"\s*begin : ", text[end + 1 :]):
            yield Edit(match.end(), end, f"!({text[match.end() : end]})")
    for match in _CHOICE.finditer(text):
        yield Edit(match.start(), match.end(), f"!{match.group()}")


def _closing(text: str, start: int) -> int:
    """Position of the parenthesis that closes the one before `start`."""
    depth, position = 1, start
    while depth:
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        position += 1
    return position - 1


_DECLARED = re.compile(
    r"\b(?:logic|bit)((?: signed)?[ \t]*(?:\[[^;\n]*?\](?=[ \t]+[a-z]))?)[ \t]+"
    r"([a-z]\w*(?:,\s*[a-z]\w*)*)\s*[;,\n)]"
)


def signal_swap(text: str, source: str) -> Iterator[Edit]:
    """Another signal of the same width and sign; source: with the header and the declarations."""
    families: dict[str, list[str]] = {}
    for width, names in _DECLARED.findall(without_comments(source)):
        families.setdefault(width.replace(" ", ""), []).extend(re.split(r",\s*", names))
    for family in families.values():
        for match in re.finditer(rf"\b(?:{'|'.join(family)})\b", text):
            if _is_read(text, match):
                others = [name for name in family if name != match.group()]
                yield from (Edit(match.start(), match.end(), name) for name in others)


def _is_read(text: str, match: re.Match[str]) -> bool:
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    declared = re.match(r"\s*(?:logic|bit|input|output)\b", line)
    assigned = re.match(r"(?:\[[^\]]*\])?\s*(?:<=|=(?!=))", text[match.end() :])
    connected = text[: match.start()].endswith(".")
    return not (declared or assigned or connected)


_RESET = re.compile(r"if \(!rst_ni\) (?:begin(.*?)\bend\b|([^;]*;))", re.S)
_RESET_VALUE = re.compile(r"<= ('[01]|1'b[01]);")
_FLIPPED = {"'0": "'1", "'1": "'0", "1'b0": "1'b1", "1'b1": "1'b0"}


def reset_value(text: str) -> Iterator[Edit]:
    """Ones for zeros, zeros for ones."""
    for reset in _RESET.finditer(text):
        for match in _RESET_VALUE.finditer(text, reset.start(), reset.end()):
            yield Edit(match.start(1), match.end(1), _FLIPPED[match[1]])


_ASSIGNMENT = re.compile(
    r"^ *(?:(?:\w+: |(?:else )?if \([^;\n]*?\) |else )*)([a-z]\w*(?:\[[^\]\n]*\])?\s*<=[^;]*);",
    re.M,
)


def dropped_assignment(text: str) -> Iterator[Edit]:
    """A register that is not written."""
    for match in _ASSIGNMENT.finditer(text):
        yield Edit(match.start(1), match.end(1), "")


OPERATORS: dict[str, Callable[[str], Iterator[Edit]]] = {
    "operator swap": operator_swap,
    "compare off by one": compare_off_by_one,
    "constant": constant,
    "condition negation": condition_negation,
    "reset value": reset_value,
    "dropped assignment": dropped_assignment,
}
"""All but signal_swap, which reads declarations too."""


def edits(source: str) -> dict[str, list[Edit]]:
    """Every edit of a source, by operator."""
    text = code(source)
    found = {name: list(find(text)) for name, find in OPERATORS.items()}
    return {**found, "signal swap": list(signal_swap(text, source))}
