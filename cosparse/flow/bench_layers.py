"""Layers, patterns and token counts of `cosparse bench cpu`."""

from dataclasses import dataclass

from ..spec import ConvGeometry


@dataclass(frozen=True)
class LayerShape:
    """A weight (outputs, inputs), or (outputs, inputs, *conv.kernel)."""

    outputs: int
    inputs: int
    conv: ConvGeometry | None = None

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.outputs, self.inputs, *(self.conv.kernel if self.conv else ()))


def same_conv(batch: int, size: int, kernel: int, stride: int = 1) -> ConvGeometry:
    """A square convolution that keeps the image size but for its stride."""
    out, padding = -(-size // stride), kernel // 2
    return ConvGeometry(
        batch,
        (size, size),
        (out, out),
        (kernel, kernel),
        (stride, stride),
        (padding, padding),
        (1, 1),
    )


LAYERS: dict[str, LayerShape] = {
    "BERT-base attention": LayerShape(768, 768),
    "BERT-base FFN up": LayerShape(3072, 768),
    "BERT-base FFN down": LayerShape(768, 3072),
    "ResNet-50 stage 2 3x3": LayerShape(128, 128, same_conv(1, 28, 3)),
    "ResNet-50 stage 3 3x3": LayerShape(256, 256, same_conv(1, 14, 3)),
    "ResNet-50 stage 3 1x1": LayerShape(1024, 256, same_conv(1, 14, 1)),
    "ResNet-50 classifier": LayerShape(1000, 2048),
    "LLaMA-7B attention": LayerShape(4096, 4096),
    "LLaMA-7B gate": LayerShape(11008, 4096),
    "LLaMA-7B down": LayerShape(4096, 11008),
    "digits-cnn block 1": LayerShape(64, 32, same_conv(32, 8, 3, stride=2)),
    "digits-cnn block 2": LayerShape(64, 64, same_conv(32, 4, 3)),
}
"""Linear layers, and convolutions of one image (28 x 28: 784 tokens), or of 32 of the digits."""

TOKENS = (1, 8, 32, 128, 784)
"""Of linear layers."""
LARGE_ENTRIES = 1 << 24
LARGE_TOKENS = (1, 128)
"""Of weights with so many entries and more, which take seconds to pack and multiply."""
HUGE_ENTRIES = 1 << 25
HUGE_PATTERNS = ("2:8", "1:16", "16:2:8", "block 16x16 @ 0.1")

PATTERNS = (
    "2:4", "2:8", "1:8", "1:16",
    "16:2:4", "16:2:8", "16:1:8", "16:1:16",
    "block 16x16 @ 0.3", "block 16x16 @ 0.2", "block 16x16 @ 0.1",
    "unstructured @ 0.1",
)  # fmt: skip

QUICK_LAYERS = {name: LAYERS[name] for name in ("BERT-base attention", "digits-cnn block 1")}
QUICK_TOKENS = (1, 128)
QUICK_PATTERNS = ("2:8", "16:2:8", "block 16x16 @ 0.2")

GROWTH_LAYER = "BERT-base FFN up"
GROWTH_TOKENS = (32, 64, 128, 256, 512, 1024)
GROWTH_PATTERN = "2:8"
GROWTH_PATTERNS = ("1:16", "2:16", "3:16", "4:16", "6:16", "8:16")
"""How cost grows: with tokens at one pattern, and with nonzeros at 128 tokens."""
GROWTH_PATTERN_TOKENS = 128
