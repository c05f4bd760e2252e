"""What follows the product of a layer: its bias and its ReLU, forward and backward."""

from dataclasses import dataclass

from hwsim.compile.operation import pass_operation
from hwsim.compile.passes import bias_gradient_pass, update_pass, vector_pass
from hwsim.compile.weights import Sgd

from .script import Script


@dataclass(frozen=True)
class Activation:
    """y = relu(sums + b), with bias and ReLU where they are asked for; (tokens, channels).

    The product leaves its sums as FP16; bias, its momentum and its gradient are FP32. Tensors:
    `NAME.sums`, `NAME.output`, `NAME.bias`.
    """

    name: str
    tokens: int
    channels: int
    bias: bool
    relu: bool

    @property
    def kinds(self) -> list[str]:
        """The vector work in order."""
        return ["bias"] * self.bias + ["relu"] * self.relu

    @property
    def output(self) -> str:
        return f"{self.name}.output"

    @property
    def sums(self) -> str:
        """Where the product's result belongs."""
        return f"{self.name}.sums" if self.kinds else self.output

    def forward(self, script: Script) -> None:
        """Add what makes the output of the sums."""
        if self.kinds:
            pass_ = vector_pass(self.kinds, self.tokens, self.channels, script.config)
            roles = {"source": self.sums, "operand_0": f"{self.name}.bias", "result": self.output}
            script.run(pass_operation(pass_), roles)

    def backward(self, script: Script, output_gradient: str) -> str:
        """Add the ReLU's mask and the bias gradient. Returns the gradient of the sums."""
        gradient = output_gradient
        if self.relu:
            gradient = f"{self.name}.sums.gradient"
            pass_ = vector_pass(["mask"], self.tokens, self.channels, script.config)
            roles = {"source": output_gradient, "operand_0": self.output, "result": gradient}
            script.run(pass_operation(pass_), roles)
        if self.bias:
            pass_ = bias_gradient_pass(self.tokens, self.channels, script.config)
            roles = {"source": gradient, "result": f"{self.name}.bias.gradient"}
            script.run(pass_operation(pass_), roles)
        return gradient

    def update(self, script: Script, optimizer: Sgd) -> None:
        """Add UPDATE of the bias."""
        if self.bias:
            pass_ = update_pass(
                (self.channels, 1), 1, None, None, script.config, optimizer=optimizer
            )
            script.run(pass_operation(pass_), masters(f"{self.name}.bias"))


def masters(parameter: str) -> dict[str, str]:
    """The tensors of a parameter by the roles of UPDATE."""
    return {
        "weight": parameter,
        "momentum": f"{parameter}.momentum",
        "gradient": f"{parameter}.gradient",
    }
