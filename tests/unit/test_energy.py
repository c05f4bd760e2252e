"""Energy against sums worked by hand, and the checks of its table."""

from dataclasses import fields, replace

import pytest
import yaml

from cosparse.spec import InputError
from hwsim import AcceleratorConfig
from hwsim.energy import EVENTS, EnergyTable, EventCounts, estimate
from hwsim.tables import Figure

CONFIG = AcceleratorConfig.preset("sat-8x8", clock_mhz=100)
NOTE = {"unit": "pJ", "basis": "our estimate", "source": "a test", "technology": "paper"}


def figure(value, low, high):
    return Figure(value=value, low=low, high=high, **NOTE)


def table(static=(0, 0, 0), **events):
    free = figure(0, 0, 0)
    figures = {name: figure(*events[name]) if name in events else free for name in EVENTS}
    return EnergyTable(figures, figure(*static))


def plain():
    """A table as it stands in a file, every entry alike."""
    entry = {"value": 2, "low": 1, "high": 3, **NOTE}
    events = {name: dict(entry) for name in EVENTS}
    return {"schema": 1, "events": events, "static_power": dict(entry)}


def written(tmp_path, data):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_run_by_hand():
    counts = EventCounts(macs_fp16=1_000_000, dram_bytes_read=2_000)
    prices = table(static=(2, 1, 4), macs_fp16=(8, 3, 30), dram_bytes_read=(160, 32, 320))
    energy = estimate(counts, 5_000, CONFIG, prices)
    # 5,000 cycles at 100 MHz are 50 us: 2 W give 100 uJ; 8 uJ of MACs, 0.32 uJ of DRAM.
    assert energy.by_event_j["macs_fp16"] == pytest.approx(8e-6)
    assert energy.by_event_j["dram_bytes_read"] == pytest.approx(0.32e-6)
    assert energy.static_j == pytest.approx(100e-6)
    assert energy.value_j == pytest.approx(108.32e-6)
    assert energy.low_j == pytest.approx(3e-6 + 0.064e-6 + 50e-6)
    assert energy.high_j == pytest.approx(30e-6 + 0.64e-6 + 200e-6)
    assert energy.mean_power_w == pytest.approx(108.32e-6 / 50e-6)


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_priced_once(event):
    energy = estimate(EventCounts(**{event: 10}), 0, CONFIG, table(**{event: (1, 1, 1)}))
    assert energy.value_j == energy.low_j == energy.high_j == pytest.approx(10e-12)
    assert [name for name, joules in energy.by_event_j.items() if joules] == [event]
    assert energy.mean_power_w == 0


def test_energies_add_as_their_counts_do():
    first, second = EventCounts(macs_fp16=5, sore_values=2), EventCounts(macs_fp16=7)
    assert first + second == EventCounts(macs_fp16=12, sore_values=2)
    prices = EnergyTable.default()
    both = estimate(first + second, 300, CONFIG, prices)
    parts = [estimate(first, 100, CONFIG, prices), estimate(second, 200, CONFIG, prices)]
    assert both.value_j == pytest.approx(sum(part.value_j for part in parts))
    assert both.high_j == pytest.approx(sum(part.high_j for part in parts))


@pytest.mark.parametrize("count", [-1, 1.5, True])
def test_counts_are_integers(count):
    with pytest.raises(InputError, match="macs_fp16: expected an integer >= 0"):
        EventCounts(macs_fp16=count)


def test_the_shipped_table_says_where_every_figure_is_from():
    prices = EnergyTable.default()
    assert set(prices.events) == {field.name for field in fields(EventCounts)}
    for entry in (*prices.events.values(), prices.static_power):
        assert entry.low < entry.value < entry.high
        assert len(entry.source) > 15


def test_the_shipped_figures_follow_from_their_sources():
    """The arithmetic that the table's comments state, done again."""
    events = EnergyTable.default().events
    mac_45nm = 1.1 + 0.9  # Horowitz: FP16 multiply, FP32 add
    assert events["macs_fp16"].value == pytest.approx(mac_45nm / 3 * 10, rel=0.05)
    assert events["macs_fp16"].high == pytest.approx(mac_45nm * 14)
    assert events["dram_bytes_read"].high == pytest.approx(2600 / 8)
    assert events["dram_bytes_read"].low == pytest.approx(3.9 * 8, rel=0.01)
    assert events["weight_bytes_read"].value == pytest.approx(10 / 8 / 3 * 10, rel=0.05)
    assert events["wuve_elements"].value == pytest.approx((3 * 3.7 + 3 * 0.9) / 3 * 10, rel=0.01)


def test_a_table_of_the_users(tmp_path):
    prices = EnergyTable.from_file(written(tmp_path, plain()))
    energy = estimate(EventCounts(macs_fp16=10), 0, CONFIG, prices)
    assert (energy.low_j, energy.high_j) == (pytest.approx(10e-12), pytest.approx(30e-12))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["events"].pop("sore_values"), "events: missing key 'sore_values'"),
        (lambda d: d["events"].update(mac_fp16=1), "unknown key 'mac_fp16', did you mean 'macs_fp16'"),
        (lambda d: d["events"]["macs_fp16"].update(low=5), "macs_fp16: expected low <= value <= high"),
        (lambda d: d["events"]["macs_fp16"].update(value="x"), "macs_fp16.value: expected a number"),
        (lambda d: d["events"]["macs_fp16"].update(high=float("inf")), "high: expected a number"),
        (lambda d: d["events"]["macs_fp16"].update(basis="guess"), "basis: unknown basis 'guess'"),
        (lambda d: d["events"]["macs_fp16"].update(source=""), "source: expected text"),
        (lambda d: d["static_power"].pop("unit"), "static_power: missing key 'unit'"),
        (lambda d: d.update(schema=2), "expected a table of schema 1, got 2"),
        (lambda d: d.pop("static_power"), "missing key 'static_power'"),
        (lambda d: d.update(events=[]), r"events: expected a mapping, got \[\]"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_named(tmp_path, change, message):
    data = plain()
    change(data)
    with pytest.raises(InputError, match=rf"mine\.yaml.*{message}"):
        EnergyTable.from_file(written(tmp_path, data))


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_files_that_are_no_table(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml: (not a YAML table|expected a mapping)"):
        EnergyTable.from_file(tmp_path / "mine.yaml")
    with pytest.raises(InputError, match="cannot read a table: No such file"):
        EnergyTable.from_file(tmp_path / "absent.yaml")


def test_static_energy_follows_the_clock():
    prices = table(static=(1, 1, 1))
    slow = estimate(EventCounts(), 1_000, CONFIG, prices)
    fast = estimate(EventCounts(), 1_000, replace(CONFIG, clock_mhz=200), prices)
    assert slow.static_j == pytest.approx(2 * fast.static_j) == pytest.approx(10e-6)
