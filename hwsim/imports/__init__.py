"""Workloads from files of other tools: SCALE-Sim topologies and ONNX graphs."""

from .onnx import read_onnx
from .pruning import prune, without_patterns
from .scalesim import read_scale_sim

__all__ = ["prune", "read_onnx", "read_scale_sim", "without_patterns"]
