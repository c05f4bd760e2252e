"""ResNet-9 for CIFAR (Page, "How to train your ResNet", 2018): a DAWNBench network of 8 convolutions.

The block is convolution, batch normalisation, ReLU; halving is a 2 x 2 max pool after it.
"""

from typing import cast

from torch import Tensor, nn

LOGIT_SCALE = 0.125
"""Page's factor on the logits of a classifier without bias."""


class ConvBlock(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU, and a 2 x 2 max pool where asked."""

    def __init__(self, in_channels: int, out_channels: int, *, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        if pool:
            self.pool = nn.MaxPool2d(2)


class Residual(nn.Module):
    """x + two blocks of the same width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1 = ConvBlock(channels, channels)
        self.block2 = ConvBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", x + self.block2(self.block1(x)))


class ResNet9(nn.Module):
    """Logits (batch, classes) of images (batch, 3, 32, 32)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.prep = ConvBlock(3, width)
        self.layer1 = nn.Sequential(ConvBlock(width, 2 * width, pool=True), Residual(2 * width))
        self.layer2 = ConvBlock(2 * width, 4 * width, pool=True)
        self.layer3 = nn.Sequential(ConvBlock(4 * width, 8 * width, pool=True), Residual(8 * width))
        self.pool = nn.MaxPool2d(4)
        self.classifier = nn.Linear(8 * width, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer3(self.layer2(self.layer1(self.prep(x))))
        return cast("Tensor", LOGIT_SCALE * self.classifier(self.pool(h).flatten(1)))


def resnet9(width: int = 64, num_classes: int = 10) -> ResNet9:
    """Return ResNet-9; `width` is the stem's channel count."""
    return ResNet9(width, num_classes)
