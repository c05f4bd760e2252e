"""Networks that several tests train."""

import torch
from torch import nn


def mlp():
    torch.manual_seed(0)
    layers = (nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 32))
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), *layers, nn.ReLU(), nn.Linear(32, 10))
