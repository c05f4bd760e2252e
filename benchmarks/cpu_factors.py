"""Factorised layers over the dense layer, one thread: `python benchmarks/cpu_factors.py [--repeats N]`.

CPU time of a step (forward, gradients of input and weights, by autograd) of one layer with the kernels
and by stock torch, over the dense layer's in the same process; calls take turns, medians.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from algos import sparsify

sys.path.insert(0, str(Path(__file__).parent))
from cpu_kernels import seconds

SHAPES = ((3072, 768), (768, 3072))
TOKENS = (128, 2048)
METHODS = ("block-dense", "block-shuffle", "dsformer", "sltrain", "sltrain-nm")
PATTERN = "1:16"


def layer(outputs: int, inputs: int, method: str | None, kernels: str | None) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, outputs))
    if method is not None:
        sparsify(model, method, PATTERN, include=["*"], kernels=kernels)
    return model


def step(model: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> Callable[[], object]:
    def call() -> None:
        x.grad = None
        model.zero_grad()
        model(x).backward(grad)

    return call


def table(outputs: int, inputs: int, tokens: int, repeats: int) -> None:
    x, grad = torch.randn(tokens, inputs, requires_grad=True), torch.randn(tokens, outputs)
    calls = {"dense": step(layer(outputs, inputs, None, None), x, grad)}
    for method in METHODS:
        for kernels in ("cpu", None):
            name = f"{method}, {kernels or 'torch'}"
            calls[name] = step(layer(outputs, inputs, method, kernels), x, grad)
    taken = seconds(calls, repeats)
    print(f"\n{outputs} x {inputs}, {tokens} tokens: dense step {taken['dense'] * 1e3:.1f} ms")
    for method in METHODS:
        ours, stock = (taken[f"{method}, {k}"] / taken["dense"] for k in ("cpu", "torch"))
        print(f"    {method:16}{ours:6.2f}   by torch {stock:5.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for outputs, inputs in SHAPES:
        for tokens in TOKENS:
            table(outputs, inputs, tokens, repeats)


if __name__ == "__main__":
    main()
