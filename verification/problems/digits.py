"""Classifying real 8x8 handwritten digits, with hand-written forward and backward passes.

Activations are tanh and pooling is the mean: both are smooth, so that finite differences check
the gradients closely, and no unit dies, so that gradients stay dense along a whole training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .definition import DimensionNumbers, Parameters, Problem, widened

CLASSES = 10
BATCH_SIZE = 64
LOGISTIC_DECAY = 1e-3


class Digits(NamedTuple):
    """Images of shape (count, 8, 8) with entries in [0, 1], and labels of shape (count,)."""

    images: np.ndarray
    labels: np.ndarray


@cache
def load() -> tuple[Digits, Digits]:
    """The digits in a fixed shuffled order: 1437 for training and 360 held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, labels = data.images[order] / 16.0, data.target[order]
    images.flags.writeable = labels.flags.writeable = False
    train = len(labels) * 4 // 5
    return Digits(images[:train], labels[:train]), Digits(images[train:], labels[train:])


def batch(seed: int, step: int, size: int = BATCH_SIZE) -> Digits:
    """The mini-batch of one step, a pure function of (seed, step), drawn without replacement."""
    train = load()[0]
    rng = np.random.default_rng([seed, 1, step])
    chosen = rng.choice(len(train.labels), size, replace=False, shuffle=False)
    return Digits(train.images[chosen], train.labels[chosen])


def mlp(seed: int) -> Problem:
    """Two hidden layers, 64-32-16-10, tanh, softmax cross-entropy."""
    return _problem("digits_mlp", seed, _MLP)


def conv(seed: int) -> Problem:
    """Conv 3x3 1->4, tanh, 2x2 mean, conv 3x3 4->8, tanh, dense to 10, softmax cross-entropy."""
    return _problem("digits_conv", seed, _CONV)


def logistic(seed: int) -> Problem:
    """Multinomial logistic regression with an L2 term, strongly convex."""
    return _problem("logistic", seed, _LOGISTIC)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean softmax cross-entropy and its gradient.

    loss = mean_i (log sum_j exp(l_ij) - l_i,label(i)), gradient = (softmax(l) - onehot) / count

    Args:
        logits: Array of shape (count, classes).
        labels: Integers of shape (count,).

    Returns:
        The loss and its gradient with respect to the logits.
    """
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(totals[:, 0]) - shifted[rows, labels]))
    gradient = exponentials / totals
    gradient[rows, labels] -= 1.0
    return loss, gradient / len(labels)


# Inner activations that the backward pass needs again, and the logits.
_Forward = tuple[tuple[np.ndarray, ...], np.ndarray]


@dataclass(frozen=True)
class _Model:
    shapes: Mapping[str, tuple[int, ...]]
    dimension_numbers: Mapping[str, DimensionNumbers | None]
    forward: Callable[[Parameters, np.ndarray], _Forward]
    backward: Callable[[Parameters, tuple[np.ndarray, ...], np.ndarray], Parameters]
    learning_rate: float
    decay: float = 0.0


def _problem(name: str, seed: int, model: _Model) -> Problem:
    def gradients(parameters: Mapping[str, Any], step: int) -> Parameters:
        values, chosen = widened(parameters), batch(seed, step)
        saved, logits = model.forward(values, chosen.images)
        slopes = model.backward(values, saved, cross_entropy(logits, chosen.labels)[1])
        return {leaf: slopes[leaf] + model.decay * values[leaf] for leaf in values}

    def loss(parameters: Mapping[str, Any]) -> float:
        values, train = widened(parameters), load()[0]
        penalty = sum(float(np.sum(value**2)) for value in values.values())
        logits = model.forward(values, train.images)[1]
        return cross_entropy(logits, train.labels)[0] + 0.5 * model.decay * penalty

    def accuracy(parameters: Mapping[str, Any]) -> float:
        held_out = load()[1]
        logits = model.forward(widened(parameters), held_out.images)[1]
        return float(np.mean(logits.argmax(axis=1) == held_out.labels))

    return Problem(
        name=name,
        seed=seed,
        initial_parameters=lambda: _initial(model.shapes, seed),
        gradients=gradients,
        loss=loss,
        accuracy=accuracy,
        dimension_numbers=model.dimension_numbers,
        learning_rate=model.learning_rate,
    )


def _initial(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Parameters:
    rng = np.random.default_rng([seed, 0])
    parameters = {}
    for leaf, shape in shapes.items():
        # Biases are not zero: on a zero leaf weight decay and averaging would go untested.
        scale = 0.1 if len(shape) == 1 else 1.0 / np.sqrt(np.prod(shape[:-1]))
        parameters[leaf] = scale * rng.standard_normal(shape)
    return parameters


def _centred(images: np.ndarray) -> np.ndarray:
    # Border pixels are 0 in (almost) every image. Around 1/2 no pixel is constantly zero, so no
    # row of the first layer's gradient is.
    return images - 0.5


def _flat(images: np.ndarray) -> np.ndarray:
    return _centred(images).reshape(len(images), -1)


def _mlp_forward(p: Parameters, images: np.ndarray) -> _Forward:
    inputs = _flat(images)
    first = np.tanh(inputs @ p["w1"] + p["b1"])
    second = np.tanh(first @ p["w2"] + p["b2"])
    return (inputs, first, second), second @ p["w3"] + p["b3"]


def _mlp_backward(p: Parameters, saved: tuple[np.ndarray, ...], slope3: np.ndarray) -> Parameters:
    inputs, first, second = saved
    slope2 = (slope3 @ p["w3"].T) * (1.0 - second**2)
    slope1 = (slope2 @ p["w2"].T) * (1.0 - first**2)
    return {
        "w1": inputs.T @ slope1,
        "b1": slope1.sum(axis=0),
        "w2": first.T @ slope2,
        "b2": slope2.sum(axis=0),
        "w3": second.T @ slope3,
        "b3": slope3.sum(axis=0),
    }


def _patches(images: np.ndarray) -> np.ndarray:
    """(count, h, w, channels) -> (count, h, w, 9 * channels), zero-padded 3x3 neighbourhoods."""
    count, height, width, channels = images.shape
    padded = np.zeros((count, height + 2, width + 2, channels))
    padded[:, 1:-1, 1:-1] = images
    shifts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.concatenate(shifts, axis=-1)


def _matrix(kernel: np.ndarray) -> np.ndarray:
    return kernel.reshape(-1, kernel.shape[-1])


def _conv_forward(p: Parameters, images: np.ndarray) -> _Forward:
    patches1 = _patches(_centred(images)[..., None])
    hidden1 = np.tanh(patches1 @ _matrix(p["conv1"]) + p["bias1"])
    pooled = hidden1.reshape(-1, 4, 2, 4, 2, 4).mean(axis=(2, 4))
    patches2 = _patches(pooled)
    hidden2 = np.tanh(patches2 @ _matrix(p["conv2"]) + p["bias2"])
    features = hidden2.reshape(len(images), -1)
    return (patches1, hidden1, patches2, hidden2), features @ p["dense"] + p["bias3"]


def _conv_backward(p: Parameters, saved: tuple[np.ndarray, ...], slope3: np.ndarray) -> Parameters:
    patches1, hidden1, patches2, hidden2 = saved
    slope2 = (slope3 @ p["dense"].T).reshape(hidden2.shape) * (1.0 - hidden2**2)
    # The adjoint of a zero-padded convolution is one with the kernel turned by 180 degrees and
    # its channels exchanged.
    turned = p["conv2"][::-1, ::-1].transpose(0, 1, 3, 2)
    slope_pooled = _patches(slope2) @ _matrix(turned)
    unpooled = slope_pooled.repeat(2, axis=1).repeat(2, axis=2) / 4.0
    slope1 = unpooled * (1.0 - hidden1**2)
    return {
        "conv1": _kernel_gradient(patches1, slope1, p["conv1"].shape),
        "bias1": slope1.sum(axis=(0, 1, 2)),
        "conv2": _kernel_gradient(patches2, slope2, p["conv2"].shape),
        "bias2": slope2.sum(axis=(0, 1, 2)),
        "dense": hidden2.reshape(len(slope3), -1).T @ slope3,
        "bias3": slope3.sum(axis=0),
    }


def _kernel_gradient(patches: np.ndarray, slope: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    inputs, outputs = patches.shape[-1], slope.shape[-1]
    return (patches.reshape(-1, inputs).T @ slope.reshape(-1, outputs)).reshape(shape)


def _logistic_forward(p: Parameters, images: np.ndarray) -> _Forward:
    inputs = _flat(images)
    return (inputs,), inputs @ p["weight"] + p["bias"]


def _logistic_backward(
    p: Parameters, saved: tuple[np.ndarray, ...], slope: np.ndarray
) -> Parameters:
    del p
    return {"weight": saved[0].T @ slope, "bias": slope.sum(axis=0)}


_DENSE: DimensionNumbers = ((0,), (1,))
_KERNEL: DimensionNumbers = ((0, 1, 2), (3,))

_MLP = _Model(
    shapes={"w1": (64, 32), "b1": (32,), "w2": (32, 16), "b2": (16,), "w3": (16, 10), "b3": (10,)},
    dimension_numbers={
        "w1": _DENSE,
        "b1": None,
        "w2": _DENSE,
        "b2": None,
        "w3": _DENSE,
        "b3": None,
    },
    forward=_mlp_forward,
    backward=_mlp_backward,
    learning_rate=0.2,
)

_CONV = _Model(
    shapes={
        "conv1": (3, 3, 1, 4),
        "bias1": (4,),
        "conv2": (3, 3, 4, 8),
        "bias2": (8,),
        "dense": (128, CLASSES),
        "bias3": (CLASSES,),
    },
    dimension_numbers={
        "conv1": _KERNEL,
        "bias1": None,
        "conv2": _KERNEL,
        "bias2": None,
        "dense": _DENSE,
        "bias3": None,
    },
    forward=_conv_forward,
    backward=_conv_backward,
    learning_rate=0.2,
)

_LOGISTIC = _Model(
    shapes={"weight": (64, CLASSES), "bias": (CLASSES,)},
    dimension_numbers={"weight": _DENSE, "bias": None},
    forward=_logistic_forward,
    backward=_logistic_backward,
    learning_rate=0.2,
    decay=LOGISTIC_DECAY,
)
