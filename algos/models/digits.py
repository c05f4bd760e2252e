"""Two networks for 8 x 8 digit images, small enough to train in seconds."""

from typing import cast

from torch import Tensor, nn


class DigitsMLP(nn.Module):
    """64-hidden-...-classes with ReLU and `layers` hidden layers. `x`: (batch, 64) or (batch, 1, 8, 8)."""

    def __init__(self, hidden: int, num_classes: int, layers: int = 2) -> None:
        super().__init__()
        self.names = [f"fc{number}" for number in range(1, layers + 1)]
        for name, inputs in zip(self.names, [64] + [hidden] * (layers - 1), strict=True):
            self.add_module(name, nn.Linear(inputs, hidden))
        self.classifier = nn.Linear(hidden, num_classes)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for name in self.names:
            h = self.relu(self.get_submodule(name)(h))
        return cast("Tensor", self.classifier(h))


class ConvBlock(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()


class DigitsCNN(nn.Module):
    """Stem and two 3 x 3 convolutions, then two linear layers. `x`: (batch, 1, 8, 8).

    Channel counts are multiples of 16, so every pattern up to 2:16 has whole groups.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvBlock(1, width)
        self.block1 = ConvBlock(width, 2 * width, stride=2)
        self.block2 = ConvBlock(2 * width, 2 * width)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(2 * width * 2 * 2, 4 * width)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.block2(self.block1(self.stem(x))))
        return cast("Tensor", self.classifier(self.relu(self.fc(h.flatten(1)))))


def mlp(hidden: int = 256, num_classes: int = 10, layers: int = 2) -> DigitsMLP:
    """Return the digits MLP with so many hidden layers."""
    return DigitsMLP(hidden, num_classes, layers)


def cnn(width: int = 32, num_classes: int = 10) -> DigitsCNN:
    """Return the digits CNN; `width` is the stem's channel count."""
    return DigitsCNN(width, num_classes)
