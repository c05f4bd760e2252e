"""What `cs.simulate` returns: the priced step, which prints well in a terminal and in a notebook."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from cosparse.spec import GEMM_PHASES
from cosparse.spec.errors import MissingToolError
from hwsim import AcceleratorConfig, Energy, EnergyTable, EventCounts, LayerTiming, estimate, total

_SHOWN = 12
"""Products in the text; the notebook and the table have all."""
_COLUMNS = ("layer", "phase", "dataflow", "Ic x Ir", "cycles", "utilisation", "bound")


@dataclass(frozen=True, repr=False)
class Simulation(Sequence[LayerTiming]):
    """One training step on an accelerator; a sequence of its operations' timings.

    what: the model, the method and the pattern in words. dense: the same step without sparsity, where
    there is one to compare with.
    """

    what: str
    config: AcceleratorConfig
    timings: tuple[LayerTiming, ...]
    dense: tuple[LayerTiming, ...] | None = None

    @property
    def cycles(self) -> int:
        """Cycles of the whole step."""
        return total(self.timings)

    @property
    def milliseconds(self) -> float:
        """Time of the step at the configuration's clock, which is assumed."""
        return 1e3 * self.config.seconds(self.cycles)

    @property
    def speedup(self) -> float | None:
        """Dense cycles over cycles, whole steps on the same accelerator."""
        return None if self.dense is None else total(self.dense) / self.cycles

    @property
    def energy(self) -> Energy:
        """Joules of the step with their range (modelled)."""
        events = sum((timing.events for timing in self.timings), EventCounts())
        return estimate(events, self.cycles, self.config, EnergyTable.default())

    def to_pandas(self) -> Any:
        """A DataFrame, one row an operation. Raises MissingToolError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingToolError(
                "to_pandas: pandas is not installed: pip install pandas"
            ) from None
        return pd.DataFrame([_record(timing) for timing in self.timings])

    @overload
    def __getitem__(self, index: int) -> LayerTiming: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[LayerTiming, ...]: ...
    def __getitem__(self, index: int | slice) -> LayerTiming | tuple[LayerTiming, ...]:
        return self.timings[index]

    def __len__(self) -> int:
        return len(self.timings)

    def __repr__(self) -> str:
        products = [
            timing for timing in self.timings if timing.phase in GEMM_PHASES and timing.dataflow
        ]
        longest = sorted(products, key=lambda timing: -timing.cycles)[:_SHOWN]
        rows = [_COLUMNS, *(_row(timing) for timing in longest)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        table = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        more = len(products) - len(longest)
        rest = [f"and {more} shorter products"] if more else []
        return "\n".join([self._headline(), *table, *rest])

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        products = [timing for timing in self.timings if timing.dataflow]
        head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _row(timing))}</tr>"
            for timing in products
        )
        return (
            f"<p>{html.escape(self._headline())}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _headline(self) -> str:
        against = "" if self.speedup is None else f", {self.speedup:.2f}x over dense"
        energy = self.energy
        return (
            f"{self.what} on {self.config.name}: {self.cycles:,} cycles a step, "
            f"{self.milliseconds:.3g} ms{against} (simulated + modelled); "
            f"{energy.value_j:.3g} J, {energy.low_j:.2g} to {energy.high_j:.2g} (modelled)"
        )


def _row(timing: LayerTiming) -> tuple[str, ...]:
    record = _record(timing)
    return (
        timing.name,
        timing.phase.value,
        timing.dataflow or "-",
        record["interleave"] or "-",
        f"{timing.cycles:,}",
        f"{100 * timing.utilisation:.0f} %",
        timing.bound,
    )


def _record(timing: LayerTiming) -> dict[str, Any]:
    chosen = timing.interleave
    return {
        "layer": timing.name,
        "phase": timing.phase.value,
        "kind": timing.kind.value,
        "dataflow": timing.dataflow,
        "interleave": None if chosen is None else f"{chosen.columns}x{chosen.rows}",
        "cycles": timing.cycles,
        "array_cycles": timing.array_cycles,
        "bandwidth_cycles": timing.bandwidth_cycles,
        "prune_cycles": timing.prune_cycles,
        "dram_bytes": timing.dram_bytes,
        "macs": timing.macs,
        "issued_macs": timing.issued_macs,
        "utilisation": timing.utilisation,
        "bound": timing.bound,
    }
