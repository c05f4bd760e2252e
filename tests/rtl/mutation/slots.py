"""Where a SystemVerilog source can take a choice at run time: expressions and assignments, by position.

An expression here is the longest one that stands by itself: the right side of an assignment, a condition, the
selector of a case, what an input port is connected to. What is fixed at elaboration (parameters,
types, generate conditions, loop headers, case labels, left sides) is none.

A scanner of tokens, not a parser: it knows where processes, functions and statements begin and end.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"[A-Za-z_$`][\w$]*|\d*'[sS]?[bdohBDOH]?[\w?]+|\d[\w.]*"
    r"|<<<|>>>|<<=|===|!==|\|->|<=|>=|==|!=|&&|\|\||<<|>>|::|\+:|-:|\+\+|--|[-+*/&|^]=|\S"
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_PROCESSES = ("always_ff", "always_comb", "always_latch", "always", "initial", "final")
_OPENING = ("begin", "case", "casez", "casex")
_SKIPPED = (
    *(
        "localparam",
        "parameter",
        "typedef",
        "genvar",
        "import",
        "logic",
        "bit",
        "int",
        "wire",
        "enum",
    ),
    *("module", "package", "endmodule", "endpackage", "struct"),
)


@dataclass(frozen=True)
class Slot:
    """text[start:end] is an expression. statement: start and end, with its semicolon, of the assignment."""

    start: int
    end: int
    statement: tuple[int, int] | None = None


@dataclass
class _Scanner:
    """Walks over the tokens; `at` is the number of the next one."""

    text: str
    inputs: Callable[[str], frozenset[str]]
    at: int = 0
    found: list[Slot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = list(_TOKEN.finditer(self.text))

    def word(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place].group() if place < len(self.tokens) else ""

    def closing(self, place: int) -> int:
        """Number of the token that closes the bracket at `place`."""
        opened, closed, depth = self.tokens[place].group(), "", 0
        closed = _CLOSING[opened]
        for number in range(place, len(self.tokens)):
            depth += {opened: 1, closed: -1}.get(self.tokens[number].group(), 0)
            if not depth:
                return number
        return len(self.tokens) - 1

    def brackets(self, *, is_slot: bool) -> None:
        """Pass what stands in brackets."""
        end = self.closing(self.at)
        if is_slot:
            self.found.append(Slot(self.tokens[self.at].end(), self.tokens[end].start()))
        self.at = end + 1

    def to_semicolon(self) -> list[int]:
        """Pass the rest of a statement; numbers of its tokens that are in no brackets."""
        outside = []
        while self.at < len(self.tokens) and self.word() != ";":
            outside.append(self.at)
            self.at = self.closing(self.at) if self.word() in _CLOSING else self.at
            self.at += 1
        self.at += 1
        return outside

    def module_items(self) -> None:
        while self.at < len(self.tokens):
            word = self.word()
            if word in _PROCESSES:
                self.at += 1
                self.statement()
            elif word in ("function", "task"):
                self.to_semicolon()
                while self.at < len(self.tokens) and self.word() not in ("endfunction", "endtask"):
                    self.statement()
                self.at += 1
            elif word == "assign":
                self.assignment()
            elif word in ("if", "for", "case"):
                self.at += 1
                self.brackets(is_slot=False)
            elif word in ("begin", "end", "else", "generate", "endgenerate", "endcase"):
                self.at += 1
                self.label()
            elif word in ("endmodule", "endpackage"):
                self.at = len(self.tokens)
            elif word in _SKIPPED or word == ";":
                self.to_semicolon()
            else:
                self.instance()

    def label(self) -> None:
        if self.word() == ":":
            self.at += 2

    def assignment(self) -> None:
        """One assignment, from its first token past its semicolon; anything else is passed."""
        first, outside = self.at, self.to_semicolon()
        words = [self.tokens[number].group() for number in outside]
        signs = [n for n, word in zip(outside, words, strict=True) if word in ("=", "<=")]
        end = self.tokens[min(self.at, len(self.tokens)) - 1]
        if words and words[0] == "return" and len(words) > 1:
            self.found.append(Slot(self.tokens[first].end(), end.start()))
        elif signs and "," not in words:
            whole = (self.tokens[first].start(), end.end())
            self.found.append(Slot(self.tokens[signs[0]].end(), end.start(), whole))

    def instance(self) -> None:
        """module #(...) name (.port(expression), ...);"""
        first, outside = self.at, self.to_semicolon()
        ports = self.inputs(self.tokens[first].group())
        opened = [n for n in outside if self.tokens[n].group() == "("]
        if not ports or not opened:
            return
        inner, last = opened[-1] + 1, self.closing(opened[-1])
        while inner < last:
            token = self.tokens[inner].group()
            named = token == "." and self.tokens[inner + 2].group() == "("
            if named and self.tokens[inner + 1].group() in ports:
                end = self.closing(inner + 2)
                start = self.tokens[inner + 2].end()
                self.found.append(Slot(start, self.tokens[end].start()))
            inner = self.closing(inner + 2) + 1 if named else inner + 1

    def statement(self) -> None:
        """One statement of a process, with all below it."""
        word = self.word()
        if word == "@":
            self.at += 1
            self.brackets(is_slot=False)
            self.statement()
        elif word == "begin":
            self.at += 1
            self.label()
            while self.at < len(self.tokens) and self.word() != "end":
                self.statement()
            self.at += 1
            self.label()
        elif word == "if":
            self.at += 1
            self.brackets(is_slot=True)
            self.statement()
            if self.word() == "else":
                self.at += 1
                self.statement()
        elif word in ("unique", "priority", "unique0"):
            self.at += 1
            self.statement()
        elif word in ("for", "foreach", "while", "repeat"):
            self.at += 1
            self.brackets(is_slot=False)
            self.statement()
        elif word in ("case", "casez", "casex"):
            self.at += 1
            self.brackets(is_slot=True)
            while self.at < len(self.tokens) and self.word() != "endcase":
                self.case_label()
                self.statement()
            self.at += 1
        else:
            self.assignment()

    def case_label(self) -> None:
        while self.at < len(self.tokens) and self.word() != ":":
            if self.word() in _CLOSING:
                self.at = self.closing(self.at)
            self.at += 1
        self.at += 1


def slots(text: str, inputs: Callable[[str], frozenset[str]]) -> list[Slot]:
    """The slots of a source without comments, in order; no two of them overlap.

    inputs: names of the input ports of a module; empty for what is no module.
    """
    scanner = _Scanner(text, inputs)
    scanner.module_items()
    return sorted(scanner.found, key=lambda slot: slot.start)


def slot_of(found: list[Slot], start: int, end: int) -> Slot | None:
    """The slot that contains text[start:end]."""
    place = bisect_right([slot.start for slot in found], start) - 1
    if place >= 0 and end <= found[place].end:
        return found[place]
    return None
