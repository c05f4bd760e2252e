"""A program in the making: operations on named tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cosparse.spec.patterns import padded
from hwsim.compile.chain import chain
from hwsim.compile.operation import PAGE_BYTES, Operation
from hwsim.config import AcceleratorConfig
from hwsim.program import Program


@dataclass(frozen=True)
class Part:
    """A tensor from one of its bytes on."""

    name: str
    offset: int


@dataclass
class Arena:
    """Where the tensors lie in DRAM: one behind the other, each on pages of its own."""

    addresses: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes, whole pages."""

    @property
    def size_bytes(self) -> int:
        return sum(self.sizes.values())

    def place(self, name: str, size_bytes: int) -> int:
        """The address of a tensor, which its first use gives it. Raises ValueError if it grows."""
        size = padded(max(size_bytes, 1), PAGE_BYTES)
        if name not in self.addresses:
            self.addresses[name], self.sizes[name] = self.size_bytes, size
        if size > self.sizes[name]:
            raise ValueError(f"tensor '{name}' has {self.sizes[name]} bytes, {size_bytes} are used")
        return self.addresses[name]


class Script:
    """Operations in the order in which they run."""

    def __init__(self, arena: Arena, config: AcceleratorConfig) -> None:
        self.arena, self.config = arena, config
        self.parts: list[Program] = []

    def run(self, operation: Operation, tensors: Mapping[str, str | Part]) -> None:
        """Add an operation. tensors: by role; a role that is left out is the operation's own."""
        placed = {}
        for role, size in operation.sizes.items():
            tensor = tensors.get(role, f"{operation.name}: {role}")
            if isinstance(tensor, Part):
                placed[role] = self.arena.addresses[tensor.name] + tensor.offset
            else:
                placed[role] = self.arena.place(tensor, size)
        self.parts.append(operation.program(placed))

    def program(self, name: str) -> Program:
        """All of it as one program."""
        return chain(self.parts, name)
