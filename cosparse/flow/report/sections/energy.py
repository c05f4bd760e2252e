"""Energy of a training step and area of the accelerator, both with their ranges."""

from typing import Any

from ..blocks import Block, Section, Table, Text
from ..facts import DENSE, methods_of
from ..format import ratio, times


def energy_section(document: dict[str, Any]) -> Section | None:
    simulated = document["simulated"]
    if simulated is None:
        return None
    energies = {name: simulated["methods"][name]["energy"] for name in methods_of(document)}
    blocks: list[Block] = [_energies(energies), _causes(energies), *_area(simulated)]
    return Section("Energy and area (modelled)", tuple(blocks))


def _energies(energies: dict[str, Any]) -> Table:
    dense = energies[DENSE]["joules"]
    rows = tuple(
        (
            name,
            _joules(e["joules"]),
            _joules(e["low"]),
            _joules(e["high"]),
            times(ratio(dense, e["joules"])),
        )
        for name, e in energies.items()
    )
    caption = (
        "Energy of one training step: event counts times a table of pJ an event (hwsim/energy.yaml) plus "
        "static power times time. Low and high take every entry at one end of its range at once"
    )
    return Table(("Method", "Joules", "Low", "High", "Dense / method"), rows, caption)


def _causes(energies: dict[str, Any]) -> Table:
    """Where the energy goes, largest first for the first method."""
    first = next(iter(energies.values()))
    events = sorted(first["by_event"], key=lambda event: -float(first["by_event"][event]))
    shown = [event for event in events if any(e["by_event"][event] for e in energies.values())]
    rows = [
        (_words(event), *(_share(e, e["by_event"][event]) for e in energies.values()))
        for event in shown
    ]
    rows.append(("static power", *(_share(e, e["static"]) for e in energies.values())))
    return Table(("Share of", *energies), tuple(rows), "Share of each step's energy by cause")


def _area(simulated: dict[str, Any]) -> tuple[Block, ...]:
    area = simulated["area"]
    rows = tuple(
        (name, round(amount["value"]), round(amount["low"]), round(amount["high"]))
        for name, amount in area["resources"].items()
    )
    note = " Extrapolated beyond the synthesised arrays." if area["extrapolated"] else ""
    text = (
        f"STCE and scratchpads on an FPGA, from {area['label']} (rtl/synth/results) by a fit over rows, "
        f"columns and M; without SORE, WUVE, DMA and control. Low and high: the fit's largest error on the "
        f"synthesised arrays, and 30 % more beyond them.{note}"
    )
    return Text(text), Table(("Resource", "Estimate", "Low", "High"), rows)


def _words(event: str) -> str:
    return event.replace("_bytes", " (bytes)").replace("_", " ")


def _joules(value: float) -> str:
    return f"{value:.3g}"


def _share(energy: dict[str, Any], part: float) -> str:
    return f"{100 * part / energy['joules']:.1f} %" if energy["joules"] else "–"
