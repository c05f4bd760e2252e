"""VGG-19 for CIFAR (Simonyan and Zisserman, ICLR 2015, configuration E).

The usual CIFAR variant: batch normalisation after every convolution and one linear layer, because
five halvings leave a single pixel of a 32 x 32 image.
"""

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""(channels, convolutions) between two max pools."""


class VGG19(nn.Module):
    """Logits (batch, classes) of images (batch, 3, 32, 32)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_layers())
        self.classifier = nn.Linear(STAGES[-1][0], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.classifier(self.features(x).flatten(1)))


def vgg19(num_classes: int = 100) -> VGG19:
    """Return VGG-19 with batch normalisation."""
    return VGG19(num_classes)


def _layers() -> Iterator[nn.Module]:
    in_channels = 3
    for channels, depth in STAGES:
        for _ in range(depth):
            yield nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
            yield nn.BatchNorm2d(channels)
            yield nn.ReLU()
            in_channels = channels
        yield nn.MaxPool2d(2)
