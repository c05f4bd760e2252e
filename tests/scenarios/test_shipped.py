"""Every shipped scenario is sound, commented and what its neighbours rely on."""

import importlib.util

import numpy as np
import pytest

from cosparse.flow.scenario import load_scenario, shipped_scenarios
from cosparse.flow.sweep.definition import define
from cosparse.spec import NM
from hwsim.config_vector import CONFIG_POSITION

NAMES = [
    "bring-your-own",
    "bytes-lm",
    "digits-bdwp",
    "quickstart",
    "resnet50-timing",
    "sat_reconstruction",
    "sweep-bandwidth",
    "sweep-codesign",
    "sweep-dataflow",
    "sweep-million",
    "train-on-rtl",
]
SWEEPS = [name for name in NAMES if name.startswith("sweep-")]


def test_the_shipped_scenarios():
    assert list(shipped_scenarios()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_sound_and_says_what_it_is(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    assert scenario.source.startswith("# ")
    assert isinstance(scenario.train.parsed_pattern, NM)


@pytest.mark.parametrize("name", NAMES)
def test_only_ones_own_code_needs_trust(name):
    assert load_scenario(name).requires_trust == (name == "bring-your-own")


def test_quickstart_uses_all_backends_and_all_phases():
    scenario = load_scenario("quickstart")
    assert scenario.backends == ("cpu", "simulator", "rtl")
    assert scenario.phases == ("FF", "BP", "WU")
    assert scenario.train.methods == ("bdwp", "dense")


def test_digits_bdwp_pairs_five_seeds_over_five_methods():
    train = load_scenario("digits-bdwp").train
    assert len(train.seeds) == 5
    assert sorted(train.methods) == ["bdwp", "dense", "sdgp", "sdwp", "sr-ste"]
    assert train.max_epochs == 20


def test_resnet50_timing_trains_nothing():
    scenario = load_scenario("resnet50-timing")
    assert not scenario.train.trains
    assert scenario.data_source is None
    assert scenario.timed_batch == 32
    assert scenario.resolved()["input_shape"] == [3, 224, 224]
    assert scenario.accelerator_config().simulation_only


def test_the_own_model_takes_the_scenarios_options_and_data():
    torch = pytest.importorskip("torch")
    scenario = load_scenario("bring-your-own")
    spec = importlib.util.spec_from_file_location("my_model", scenario.code_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.build(**scenario.model.options)
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert {name for name, _ in model.named_modules()} >= set(scenario.train.exclude)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweeps_axes_are_of_its_purpose(name):
    space = define(load_scenario(name)).space
    legal = [space.resolve(codes)[0] for codes in space.grid()]
    points = sum(map(len, legal))
    if name == "sweep-million":
        fields = {axis.name for axis in space.axes}
        timed = {"pattern", "rows", "cols", "dram_bytes_per_cycle", "add_latency", "interleave"}
        assert timed | {"activation_kib", "weight_kib", "accumulator_kib"} == fields
        assert points >= 1_000_000
        configs = np.concatenate([one.configs for one in legal])
        variants = np.concatenate([one.variants for one in legal])
        kinds = np.concatenate([configs, variants[:, None]], axis=1).astype(np.int32)
        assert len({row.tobytes() for row in kinds}) == points
        assert len(np.unique(configs[:, CONFIG_POSITION["clock_mhz"]])) == 1
    else:
        assert 100 < points < 10_000


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SWEEPS])
def test_it_runs_to_the_report(name, tmp_path):
    import cosparse as cs

    results = cs.run(name, out=tmp_path, trust=name == "bring-your-own")
    assert results.report_path.exists()
    assert results.document["simulated"] is not None
