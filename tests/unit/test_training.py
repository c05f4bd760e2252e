"""Training on the accelerator: every bit of every step against NumPy, and what is learned."""

import numpy as np
import pytest
import torch

import algos
from algos.data.digits import load_digits
from cosparse.spec import NM, Block, RunError, products
from hwsim import AcceleratorConfig, engine
from hwsim.compile.passes import bias_gradient_pass
from hwsim.compile.weights import Sgd
from hwsim.legality import require_legal
from hwsim.timing import cycles
from hwsim.training import (
    Affine,
    Batch,
    BlockLinear,
    Network,
    Trainer,
    compile_training,
    cross_entropy,
    machine_executor,
)

from .training_reference import AXES, ReferenceLayer, backward, block_values, forward, planes

SMALL, MIDDLE = (AcceleratorConfig.preset(name) for name in ("sat-4x4", "sat-8x8"))
SGD = Sgd(rate=0.15, momentum=0.9, decay=5e-4, scale=2.0**-10)
P28 = NM(2, 8)
STEPS = 3


def mlp(batch=64, hidden=128):
    fc1 = Affine("fc1", (hidden, 64), batch, P28, P28)
    return Network((fc1, Affine("classifier", (10, hidden), batch, P28, P28, relu=False)))


def factorised(batch=16):
    """A weight of rank 16: a dense factor times a 2:8 factor, between two linear layers."""
    return Network(
        (
            Affine("fc1", (32, 64), batch, P28, P28),
            Affine("down", (16, 32), batch, bias=False, relu=False),
            Affine("up", (32, 16), batch, P28, P28),
            Affine("classifier", (10, 32), batch, relu=False),
        )
    )


def cnn(images=8):
    """A stem of one channel, a convolution of stride 2, a classifier."""
    stem = products.conv_geometry(images, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    strided = products.conv_geometry(images, (8, 8), (3, 3), (2, 2), (1, 1), (1, 1))
    return Network(
        (
            Affine("stem", (16, 1, 3, 3), 0, conv=stem),
            Affine("conv", (16, 16, 3, 3), 0, P28, P28, conv=strided),
            Affine("classifier", (10, 256), images, P28, P28, relu=False),
        )
    )


def block_sparse(batch=16):
    """Half of the blocks, 32 outputs x 8 inputs each, and 32 x 16 with a BP."""
    wide, deep = np.indices((2, 8)).sum(0) % 2 == 0, np.indices((2, 4)).sum(0) % 2 == 1
    return Network(
        (
            BlockLinear("fc1", (64, 64), batch, Block(32, 8, 0.5), wide),
            BlockLinear("fc2", (64, 64), batch, Block(32, 16, 0.5), deep),
            Affine("classifier", (10, 64), batch, P28, P28, relu=False),
        )
    )


NETWORKS = {
    "mlp": (mlp, MIDDLE),
    "small mlp": (lambda: mlp(16, 24), SMALL),
    "factorised": (factorised, MIDDLE),
    "cnn": (cnn, SMALL),
    "block-sparse": (block_sparse, MIDDLE),
}


def initial(network, seed=0):
    """PyTorch's uniform initialisation."""
    rng, found = np.random.default_rng(seed), {}
    for layer in network.layers:
        bound = 1 / np.sqrt(np.prod(layer.weight_shape[1:]))
        shapes = {"weight": layer.weight_shape}
        shapes |= {"bias": (layer.outputs,)} if layer.bias else {}
        for name, shape in shapes.items():
            found[f"{layer.name}.{name}"] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return found


def tiles_of(layer, config):
    """Rows of a tile on each level of the bias gradient, as the pass runs."""
    pass_ = bias_gradient_pass(layer.tokens, layer.outputs, config)
    starts = sorted(pass_.addresses.values())
    levels = {}
    for section in pass_.sections:
        load, vector = section.steps[0], section.steps[1]
        level = max(start for start in starts if start <= load.dram)
        levels[level] = max(levels.get(level, 0), vector.registers["rows"])
    return tuple(rows for _, rows in sorted(levels.items()))


def reference(network, parameters, config):
    return [
        ReferenceLayer(
            layer,
            parameters[f"{layer.name}.weight"],
            parameters.get(f"{layer.name}.bias"),
            tiles_of(layer, config),
        )
        for layer in network.layers
    ]


def digits(network, steps, seed=0):
    """Batches of training images, (images, 8, 8, 1) for a convolution and (images, 64) else."""
    data, rng = load_digits(), np.random.default_rng(seed)
    first, size = network.layers[0], network.layers[-1].tokens
    shape = (-1, 8, 8, 1) if getattr(first, "conv", None) else (-1, 64)
    images = data.x_train.reshape(shape).astype(np.float16)
    chosen = [rng.choice(len(images), size, replace=False) for _ in range(steps)]
    return [Batch(images[rows], data.y_train[rows]) for rows in chosen]


def same_bits(got, wanted, what):
    view = f"u{wanted.dtype.itemsize}"
    got, wanted = np.ascontiguousarray(got), np.ascontiguousarray(wanted)
    np.testing.assert_array_equal(got.view(view), wanted.view(view), what, strict=True)


def check_state(programs, memory, layers):
    """Masters, momenta and packed copies."""
    masters, momenta = programs.read(memory), programs.read(memory, ".momentum")
    for number, layer in enumerate(layers):
        name = layer.layer.name
        for parameter, momentum in layer.momenta.items():
            where = f"{name}.{parameter}"
            same_bits(masters[where], getattr(layer, parameter), where)
            same_bits(momenta[where], momentum, f"momentum of {where}")
        for copy in ("ff", "bp") if number else ("ff",):
            for where, wanted in copy_of(layer, copy).items():
                address = programs.addresses[where]
                same_bits(memory.array(address, wanted.shape, wanted.dtype), wanted, where)


def copy_of(layer, copy):
    """The tensors of a packed copy, by name."""
    name = f"{layer.layer.name}.{copy}"
    if isinstance(layer.layer, BlockLinear):
        return {name: block_values(layer.weight, layer.layer, copy)}
    made = planes(layer.weight, getattr(layer.layer, copy), AXES[copy])
    return {f"{name}.{plane}": array for plane, array in made.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_has_the_bits_of_numpy(name):
    make, config = NETWORKS[name]
    network = make()
    programs, parameters = compile_training(network, config, SGD), initial(network)
    layers = reference(network, parameters, config)
    trainer = Trainer(programs, parameters, machine_executor(config))
    batches = digits(network, STEPS + 1)
    check_state(programs, trainer.memory, layers)
    logits = forward(layers, batches[0].x)
    for number, record in enumerate(trainer.run(batches)):
        host = cross_entropy(logits, batches[number].labels, 1 / SGD.scale)
        assert record.loss == host.loss
        assert not record.undone
        backward(layers, host.gradient, SGD)
        check_state(programs, trainer.memory, layers)
        logits = forward(layers, batches[number + 1].x)
        same_bits(programs.read_logits(trainer.memory), logits, f"logits of step {number}")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_one_legal_program_and_exact_in_time(name):
    make, config = NETWORKS[name]
    programs = compile_training(make(), config, SGD)
    for program in (programs.forward, programs.step):
        require_legal(program, config, programs.size_bytes)
        assert engine.run(program, config, trace=False).cycles == cycles(program, config)


def test_a_step_that_overflows_is_undone():
    """Weights, momenta and copies stay; the next batch is run forward on them."""
    network = mlp(16, 24)
    huge_scale = Sgd(rate=0.1, scale=2.0**-22)
    programs = compile_training(network, SMALL, huge_scale)
    trainer = Trainer(programs, initial(network), machine_executor(SMALL))
    layers, batches = reference(network, initial(network), SMALL), digits(network, 3)
    for number, record in enumerate(trainer.run(batches)):
        assert record.undone
        check_state(programs, trainer.memory, layers)
        logits = forward(layers, batches[number + 1].x)
        same_bits(programs.read_logits(trainer.memory), logits, "logits")


def test_a_batch_that_overflows_ends_the_training():
    network = mlp(16, 24)
    programs = compile_training(network, SMALL, SGD)
    parameters = {name: np.abs(array) for name, array in initial(network).items()}
    trainer = Trainer(programs, parameters, machine_executor(SMALL))
    first = digits(network, 1)[0]
    huge = Batch(np.full_like(first.x, 65504), first.labels)
    with pytest.raises(RunError, match="overflows FP16"):
        list(trainer.run([first, huge]))


def test_the_host_scales_the_gradient_of_the_mean():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((8, 10)).astype(np.float16), rng.integers(0, 10, 8)
    host = cross_entropy(logits, labels, 1024.0)
    tensor = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(tensor, torch.tensor(labels))
    loss.backward()
    assert host.loss == pytest.approx(loss.item(), abs=1e-12)
    wanted = (1024 * tensor.grad).numpy()
    np.testing.assert_allclose(host.gradient, wanted, rtol=2.0**-11, atol=2.0**-24)


def learned(seed, steps=100, executor=None):
    """Losses and test accuracy of the same training on the machine and in PyTorch, FP32."""
    executor = executor or machine_executor(MIDDLE)
    network, data = mlp(), load_digits()
    parameters, batches = initial(network, seed), digits(network, steps + 1, seed)
    x_test = data.x_test.reshape(-1, 64)
    trainer = Trainer(compile_training(network, MIDDLE, SGD), parameters, executor)
    losses = [record.loss for record in trainer.run(batches)]
    accuracy = trainer.accuracy(x_test.astype(np.float16), data.y_test)
    model, torch_losses = torch_training(parameters, batches[:-1])
    with torch.no_grad():
        predicted = model(torch.tensor(x_test)).argmax(1).numpy()
    return losses, accuracy, torch_losses, 100 * float((predicted == data.y_test).mean())


def torch_training(parameters, batches):
    """BDWP 2:8 of algos, the classifier opted in; the same weights, batches and SGD."""
    fc1, classifier = torch.nn.Linear(64, 128), torch.nn.Linear(128, 10)
    model = torch.nn.Sequential(fc1, torch.nn.ReLU(), classifier)
    sparsified = algos.sparsify(model, "bdwp", "2:8", include=["2"])
    assert {str(plan.bp) for plan in sparsified.layers.values()} == {"2:8"}
    for name, layer in (("fc1", fc1), ("classifier", classifier)):
        layer.weight.data.copy_(torch.tensor(parameters[f"{name}.weight"]))
        layer.bias.data.copy_(torch.tensor(parameters[f"{name}.bias"]))
    optimizer = torch.optim.SGD(
        model.parameters(), lr=SGD.rate, momentum=SGD.momentum, weight_decay=SGD.decay
    )
    losses = []
    for batch in batches:
        logits = model(torch.tensor(batch.x, dtype=torch.float32))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(batch.labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def test_the_machine_learns_digits_as_pytorch_does():
    losses, accuracy, torch_losses, torch_accuracy = learned(seed=0)
    assert np.mean(losses[-10:]) < 0.1 * losses[0]
    assert accuracy >= 90
    np.testing.assert_allclose(losses[:10], torch_losses[:10], rtol=0.01)
    assert abs(accuracy - torch_accuracy) <= 3


@pytest.mark.nightly
def test_ten_trainings_reach_the_accuracy_of_pytorch():
    pairs = [learned(seed)[1::2] for seed in range(10)]
    machine, torch_fp32 = np.array(pairs).T
    assert (machine >= 90).all()
    assert abs((machine - torch_fp32).mean()) <= 1.0, pairs


def test_another_rate_is_the_same_program_compiled_for_it():
    network, other = mlp(16, 24), Sgd(rate=0.03, momentum=0.9, decay=5e-4, scale=2.0**-10)
    programs = compile_training(network, SMALL, SGD)
    wanted = compile_training(network, SMALL, other).step
    assert (programs.step_at(0.03).words == wanted.words).all()
    assert programs.step_at(SGD.rate) is programs.step
