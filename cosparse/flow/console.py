"""Results as the command prints them: plain aligned columns and lines."""

from typing import Any


def print_table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Plain aligned columns: readable on a terminal, stable in a pipe."""
    cells = [columns, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def print_simulation(section: dict[str, Any]) -> None:
    """The products of the first method's step, and every method's total."""
    steps = section["methods"]
    first = next(iter(steps))
    columns = ("layer", "phase", "dataflow", "IcxIr", "cycles", "utilisation", "bound")
    rows = [
        (r["name"], r["phase"], r["dataflow"], r["interleave"], f"{r['cycles']:,}",
         f"{100 * r['utilisation']:.0f} %", r["bound"])
        for r in steps[first]["layers"]
        if r["kind"] == "simulated"
    ]  # fmt: skip
    print(f"{first} on {section['accelerator']['name']}, matrix products:")
    if "imported" in section:
        _print_provenance(section["imported"])
    print_table(columns, rows)
    print()
    dense = steps.get("dense")
    width = max(10, *map(len, steps))
    for name, step in steps.items():
        against = f", {dense['cycles'] / step['cycles']:.2f}x over dense" if dense else ""
        print(
            f"{name:{width}} {step['cycles']:>16,} cycles a step, {step['milliseconds']:.3f} ms{against}"
        )


def print_cosimulation(section: dict[str, Any]) -> None:
    """Every program's verdict, waves, what was not run, and the sum."""
    rows = section["layers"]
    columns = ("layer", "phase", "what", "dataflow", "instructions", "cycles predicted",
               "cycles counted", "bytes compared", "verdict")  # fmt: skip
    table = [
        (r["name"], r["phase"], r["what"], r["dataflow"] or "-", f"{r['instructions']:,}",
         f"{r['predicted']:,}", f"{r['counted']:,}", f"{r['bytes']:,}",
         "equal" if r["equal"] else "DIFFERS")
        for r in rows
    ]  # fmt: skip
    print_table(columns, table)
    for row in rows:
        for line in row["differences"]:
            print(f"  {line}")
        if "vcd" in row:
            waves = row["vcd"] or f"none: {row['vcd_error']}"
            print(f"waves of {row['name']}:{row['phase']}: {waves}")
    print()
    for left in section["left_out"]:
        print(f"not run: {left['name']}:{left['phase']}: {left['why']}")
    equal = len(rows) - section["different"]
    print(
        f"{equal} of {len(rows)} programs equal on the RTL of {section['accelerator']['name']}: "
        f"{section['cycles_counted']:,} cycles counted, {section['cycles_predicted']:,} predicted, "
        f"{section['bytes_compared']:,} bytes of memory compared"
    )


def _print_provenance(provenance: dict[str, Any]) -> None:
    """What a foreign file gave, what was derived from it, and which weights a pattern left dense."""
    derived = ", ".join(provenance["derived"])
    print(f"FF read from {provenance['file']}{f'; {derived} derived' if derived else ''}")
    for name, reason in provenance.get("dense", {}).items():
        print(f"dense: {name}: {reason}")
