"""What the host computes in the middle of a step: softmax, loss and the gradient of the logits."""

from dataclasses import dataclass

import numpy as np

from cosparse.spec.dtypes import Array


@dataclass(frozen=True, eq=False)
class LogitGradient:
    """loss: the mean. gradient: of the mean loss times the loss scale, FP16, (batch, classes)."""

    loss: float
    gradient: Array


def cross_entropy(logits: Array, labels: Array, loss_scale: float) -> LogitGradient:
    """Cross-entropy of softmax, worked out in FP64 and rounded once. labels: (batch,) of classes."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    total = np.exp(wide).sum(axis=1, keepdims=True)
    hits = np.arange(len(labels)), labels
    gradient = np.exp(wide) / total
    gradient[hits] -= 1
    loss = float((np.log(total[:, 0]) - wide[hits]).mean())
    with np.errstate(over="ignore"):
        return LogitGradient(loss, (gradient * (loss_scale / len(labels))).astype(np.float16))
