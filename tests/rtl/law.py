"""The law of hwsim.cosim.law on many programs; failures are listed together."""

from collections.abc import Iterable, Sequence

from hwsim import timing
from hwsim.cosim import Design
from hwsim.cosim.accelerator import Case, RtlResult, run_programs
from hwsim.cosim.law import Job, wrong_bits, wrong_times

LATE_CYCLES = 10_000
"""After these no interrupt is waited for, so that a design that hangs fails soon."""


def check_bits(job: Job, result: RtlResult) -> None:
    assert wrong_bits(job, result) == []


def check_times(job: Job, result: RtlResult) -> None:
    assert wrong_times(job, result) == []


def check_law(design: Design, jobs: Sequence[Job]) -> list[RtlResult]:
    """Run all jobs on the DRAM model, from registers that hold anything; compare bits and times."""
    cases = [Case.of(program, config, image) for config, program, image in jobs]
    results = run_programs(design, cases, 2 * _longest(jobs) + LATE_CYCLES, random_start=True)
    _report(
        wrong_bits(job, result) + wrong_times(job, result)
        for job, result in zip(jobs, results, strict=True)
    )
    return results


def check_under_stalls(design: Design, jobs: Sequence[Job], stall: int) -> None:
    """Run all jobs on a memory that waits at random; compare bits."""
    cases = [
        Case.of(program, config, image, stall=stall, seed=seed + 1)
        for seed, (config, program, image) in enumerate(jobs)
    ]
    results = run_programs(design, cases, 30 * _longest(jobs) + LATE_CYCLES)
    _report(wrong_bits(job, result) for job, result in zip(jobs, results, strict=True))


def _longest(jobs: Sequence[Job]) -> int:
    """Cycles of the longest job, by the timing model."""
    return max(timing.cycles(program, config) for config, program, _ in jobs)


def _report(problems: Iterable[list[str]]) -> None:
    """Fail with how many jobs have problems, and what those of the first few are."""
    bad = [found for found in problems if found]
    listed = "\n".join(line for found in bad[:5] for line in found)
    assert not bad, f"{len(bad)} jobs differ\n{listed}"
