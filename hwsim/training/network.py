"""A network as two programs: the forward pass of a batch, and a whole step.

The host computes the loss in the middle of a step, so the program of a step begins there: BP, WU,
UPDATE and the packed copies of this batch, then FF of the next one. The forward program alone opens
the training, evaluates, and follows a step that was undone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cosparse.spec import UnsupportedError
from cosparse.spec.dtypes import Array
from cosparse.spec.patterns import pad_axis
from hwsim.compile.weights import CHANNEL_UNIT, Sgd, float_bits
from hwsim.config import AcceleratorConfig
from hwsim.decoded import REGISTER_COLUMN
from hwsim.isa import Instruction, Op, Unit
from hwsim.machine import Memory
from hwsim.program import Program

from .script import Arena, Script

INPUT, NEXT_INPUT, GRADIENT = "input", "next input", "logits.gradient"
"""What the host writes: the batch of the step, the batch after it, and the scaled gradient."""

Parameters = Mapping[str, Array]
"""FP32 by name, `layer.weight` and `layer.bias`, in the framework's shapes."""


class Layer(Protocol):
    """What a layer adds to a script; see `affine.Affine`."""

    @property
    def name(self) -> str: ...

    @property
    def weight_shape(self) -> tuple[int, ...]: ...

    @property
    def bias(self) -> bool: ...

    @property
    def tokens(self) -> int: ...

    @property
    def outputs(self) -> int: ...

    def forward(self, script: Script, source: str) -> str: ...

    def backward(
        self, script: Script, source: str, output_gradient: str, *, wanted: bool
    ) -> str | None: ...

    def update(self, script: Script, optimizer: Sgd, *, with_bp: bool) -> None: ...

    def initial(
        self, weight: Array, config: AcceleratorConfig, *, with_bp: bool
    ) -> dict[str, Array]: ...

    def weight(self, stored: Array) -> Array: ...


@dataclass(frozen=True)
class Network:
    """Layers in order, each reads the one before. The first has no BP; the last gives the logits.

    Activations are channels last: a linear layer behind a convolution reads (height, width, channel).
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise UnsupportedError("network: expected at least one layer, got none")


@dataclass(frozen=True, eq=False)
class TrainingPrograms:
    """The programs of a network, and where its tensors lie. logits: (batch, classes) as stored."""

    network: Network
    config: AcceleratorConfig
    optimizer: Sgd
    forward: Program
    step: Program
    addresses: Mapping[str, int]
    sizes: Mapping[str, int]
    size_bytes: int
    logits: str

    def step_at(self, rate: float) -> Program:
        """The program of a step with a learning rate: only the register of UPDATE differs."""
        old, new = float_bits(self.optimizer.rate), float_bits(rate)
        return self.step if old == new else _with_rate(self.step, old, new)

    def initial(self, parameters: Parameters) -> Memory:
        """DRAM before the first step: masters, their packed copies, zero momenta."""
        tensors: dict[str, Array] = {}
        for number, layer in enumerate(self.network.layers):
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            tensors |= layer.initial(parameters[weight], self.config, with_bp=number > 0)
            if layer.bias:
                tensors[bias] = parameters[bias].astype(np.float32)
        parts = {self.addresses[name]: array for name, array in tensors.items()}
        return Memory.build(self.size_bytes, parts)

    def written(self, memory: Memory, tensors: Mapping[str, Array]) -> Memory:
        """The memory with activations in place of others. tensors: FP16, channels last."""
        image = memory.image.copy()
        for name, array in tensors.items():
            stored = pad_axis(array.astype(np.float16), -1, CHANNEL_UNIT)
            data = np.ascontiguousarray(stored).reshape(-1).view(np.uint8)
            image[self.addresses[name] : self.addresses[name] + len(data)] = data
        return Memory(image)

    def read_logits(self, memory: Memory) -> Array:
        """(batch, classes) FP16."""
        last = self.network.layers[-1]
        shape = (last.tokens, -(-last.outputs // CHANNEL_UNIT) * CHANNEL_UNIT)
        return memory.array(self.addresses[self.logits], shape, np.float16)[:, : last.outputs]

    def read(self, memory: Memory, suffix: str = "") -> dict[str, Array]:
        """Masters in the framework's shapes, by name; suffix: ".momentum" or ".gradient" of them."""
        found = {}
        for layer in self.network.layers:
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            found[weight] = layer.weight(self._singles(memory, weight + suffix))
            if layer.bias:
                found[bias] = self._singles(memory, bias + suffix)[: layer.outputs]
        return found

    def _singles(self, memory: Memory, name: str) -> Array:
        """FP32 from a tensor's address to the end of its pages."""
        return memory.array(self.addresses[name], (self.sizes[name] // 4,), np.float32)


def compile_training(
    network: Network, config: AcceleratorConfig, optimizer: Sgd
) -> TrainingPrograms:
    """The programs of a network. Raises UnsupportedError for what the accelerator cannot run."""
    arena = Arena()
    forward, step = Script(arena, config), Script(arena, config)
    outputs = _forward(network, forward)
    _backward(network, step, outputs, optimizer)
    step.parts += forward.parts
    return TrainingPrograms(
        network,
        config,
        optimizer,
        forward.program("forward"),
        step.program("training step"),
        arena.addresses,
        arena.sizes,
        arena.size_bytes,
        outputs[-1],
    )


def _with_rate(program: Program, old: int, new: int) -> Program:
    """The program with other FP32 bits in the register `rate` of WUVE."""
    register = REGISTER_COLUMN[Unit.WUVE]["rate"]
    pair, value = register - register % 2, f"value{register % 2}"

    def changed(item: Instruction) -> Instruction:
        writes = item.op is Op.CONFIG and item.unit is Unit.WUVE and item.args["register"] == pair
        if not writes or item.args[value] != old:
            return item
        return replace(item, args={**item.args, value: new})

    return Program.assemble(map(changed, program), program.name)


def _forward(network: Network, script: Script) -> list[str]:
    """FF of the next batch. Returns the results of all layers."""
    outputs, source = [], NEXT_INPUT
    for layer in network.layers:
        source = layer.forward(script, source)
        outputs.append(source)
    return outputs


def _backward(network: Network, script: Script, outputs: list[str], optimizer: Sgd) -> None:
    """From the gradient of the logits to the updates, last layer first."""
    gradient: str | None = GRADIENT
    sources = [INPUT, *outputs[:-1]]
    for number, layer in reversed(list(enumerate(network.layers))):
        assert gradient is not None
        gradient = layer.backward(script, sources[number], gradient, wanted=number > 0)
        layer.update(script, optimizer, with_bp=number > 0)
