"""Trains a network on the accelerator: one program a step, on any executor of programs.

    network = Network((Affine(...), ...), batch=64)
    programs = compile_training(network, config, Sgd(rate=0.1, scale=1 / 1024))
    trainer = Trainer(programs, parameters, executor)

The host computes softmax, loss and the gradient of the logits, and brings the batches; products,
biases, ReLU and its mask, updates and the packed copies are the accelerator's. BatchNorm, pooling,
attention and Adam are not in its hardware and cannot be trained here.
"""

from .affine import Affine
from .blocks import BlockLinear
from .host import LogitGradient, cross_entropy
from .network import Layer, Network, Parameters, TrainingPrograms, compile_training
from .script import Arena, Script
from .trainer import Batch, Executed, Executor, StepRecord, Trainer, machine_executor

__all__ = [
    "Affine",
    "Arena",
    "Batch",
    "BlockLinear",
    "Executed",
    "Executor",
    "Layer",
    "LogitGradient",
    "Network",
    "Parameters",
    "Script",
    "StepRecord",
    "Trainer",
    "TrainingPrograms",
    "compile_training",
    "cross_entropy",
    "machine_executor",
]
