"""When a method prunes, and how much: stages of a training run, each a function of the step alone.

    dense warm-up      the first share `dense` of the steps
    decay              mask decay: the target pattern, whose dropped weights pass with a factor D(j)
                         linear        D(j) = max(1 - rate j, 0)
                         exponential   D(j) = exp(-rate j)
                       structure decay: binary masks, in equal frames, log2(M/N) of them
                         stepwise      (M-1):M, M/2:M, M/4:M, ..., 2N:M
                         geometric     kN:kM for k = M/N, ..., 4, 2 (from the first with kM <= 256)
    final              the target pattern, binary: the share `final`, at least one epoch

j counts from 1 at the first step of the decay. Hardware gains what the pattern of a stage gives, and nothing
while dropped weights pass. Source: Bambhaniya et al., ICML 2024 (progressive gradient flow).
"""

import math
from dataclasses import dataclass, replace

from cosparse.spec import NM, Dense, InputError, Pattern, PatternError
from cosparse.spec.errors import unknown_name
from cosparse.spec.patterns import MAX_GROUP

MASK_DECAYS = ("linear", "exponential")
STRUCTURE_DECAYS = ("stepwise", "geometric")
DECAYS = (*MASK_DECAYS, *STRUCTURE_DECAYS, "none")
"""Ways from dense to the target; "none" stays dense until the final stage."""
_LAST_SHARE = 0.01
"""What an exponential decay without a rate still passes at its end."""


@dataclass(frozen=True)
class Stage:
    """One stage from step `begin` (0 is the first) up to `end`."""

    begin: int
    end: int
    pattern: Pattern
    decay: str = "none"
    rate: float = 0.0

    def passed(self, step: int) -> float:
        """D(j): the share of a dropped weight that FF still multiplies by."""
        j = step - self.begin + 1
        if self.decay == "linear":
            return max(1.0 - self.rate * j, 0.0)
        return math.exp(-self.rate * j) if self.decay == "exponential" else 0.0

    @property
    def hardware_pattern(self) -> Pattern:
        """What an executor can exploit: nothing while dropped weights pass."""
        return Dense() if self.decay in MASK_DECAYS else self.pattern


@dataclass(frozen=True)
class Timeline:
    """The stages of a run, without gaps."""

    stages: tuple[Stage, ...]

    def at(self, step: int) -> Stage:
        """The stage of a step; the last one from its begin on."""
        return next((s for s in self.stages if step < s.end), self.stages[-1])


@dataclass(frozen=True)
class Schedule:
    """How a method goes from dense to its pattern. Shares are of the optimizer steps.

    rate: beta of a mask decay, a step; None: the decay ends with the stage (linear at 0, exponential at 1 %).
    Raises InputError for a decay or shares that do not exist.
    """

    decay: str = "exponential"
    dense: float = 0.0125
    final: float = 0.2
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise InputError(unknown_name("decay", self.decay, DECAYS))
        if not (self.dense >= 0 and self.final > 0 and self.dense + self.final <= 1):
            raise InputError(
                "schedule: expected shares dense >= 0 and final > 0 of at most 1 together, "
                f"got {self.dense:g} and {self.final:g}"
            )
        if self.rate is not None and not (self.rate > 0 and self.decay in MASK_DECAYS):
            raise InputError(
                f"schedule: expected a positive rate, with a mask decay ({', '.join(MASK_DECAYS)}); "
                f"got {self.rate:g} with '{self.decay}'"
            )

    def timeline(self, pattern: Pattern, steps: int, epoch_steps: int) -> Timeline:
        """The stages of a run of `steps`, of which `epoch_steps` are one epoch.

        Raises PatternError where a structure decay does not reach the pattern, InputError for a run that
        is too short.
        """
        final = min(steps, max(math.ceil(self.final * steps), epoch_steps))
        dense = min(round(self.dense * steps), steps - final)
        between = steps - dense - final
        patterns = self.patterns(pattern)
        if between < len(patterns):
            raise InputError(
                f"schedule '{self.decay}': {steps} steps leave {between} between {dense} dense and {final} "
                f"final ones (an epoch has {epoch_steps}), expected at least {len(patterns)}; train longer"
            )
        stages = [Stage(0, dense, Dense())] if dense else []
        edges = [dense + between * i // len(patterns) for i in range(len(patterns) + 1)]
        for begin, end, frame in zip(edges, edges[1:], patterns, strict=False):
            stages.append(self._stage(begin, end, frame))
        return Timeline((*stages, Stage(steps - final, steps, pattern)))

    def patterns(self, target: Pattern) -> tuple[Pattern, ...]:
        """The pattern of each frame between the warm-up and the final stage."""
        if self.decay == "none":
            return (Dense(),)
        if self.decay in MASK_DECAYS:
            return (target,)
        return _structures(target, self.decay)

    def _stage(self, begin: int, end: int, pattern: Pattern) -> Stage:
        if self.decay not in MASK_DECAYS:
            return Stage(begin, end, pattern)
        span = max(1, end - begin)
        default = 1 / span if self.decay == "linear" else -math.log(_LAST_SHARE) / span
        return Stage(begin, end, pattern, self.decay, default if self.rate is None else self.rate)


def constant(pattern: Pattern, steps: int) -> Timeline:
    """The pattern from the first step to the last."""
    return Timeline((Stage(0, steps, pattern),))


def _structures(target: Pattern, decay: str) -> tuple[Pattern, ...]:
    """The frames of a structure decay. Raises PatternError where M/N is no power of two above one."""
    ratio = target.m // target.n if isinstance(target, NM) else 0
    if not isinstance(target, NM) or target.n * ratio != target.m or ratio & (ratio - 1):
        raise PatternError(
            f"structure decay '{decay}' halves N until N:M is reached: expected N:M with M/N a power of "
            f"two, got '{target}'"
        )
    frames = ratio.bit_length() - 1
    if frames == 0:
        raise PatternError(f"structure decay '{decay}': '{target}' is dense, nothing decays")
    if decay == "stepwise":
        halves = [target.m >> i for i in range(1, frames)]
        return tuple(NM(n, target.m) for n in (target.m - 1, *halves))
    largest = min(ratio, MAX_GROUP // target.m)
    factors = [1 << i for i in range(largest.bit_length() - 1, 0, -1)]
    if not factors:
        raise PatternError(
            f"structure decay 'geometric': groups wider than those of '{target}' are above {MAX_GROUP}; "
            "use 'stepwise'"
        )
    return tuple(replace(target, n=k * target.n, m=k * target.m) for k in factors)
