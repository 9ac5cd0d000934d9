"""Gradients met in real training, recorded once per process."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from .catalogue import problem as look_up
from .definition import Parameters


@dataclass(frozen=True)
class GradientStream:
    """Gradient dicts g_0, g_1, ... along plain gradient descent on a problem.

    g_k = gradient(W_k; mini-batch k), W_{k+1} = W_k - learning_rate g_k

    The arrays are read-only, because every stream with the same arguments shares them.

    Attributes:
        problem: Name of the problem.
        steps: Number of gradients.
        seed: Seed of the problem.
    """

    problem: str
    steps: int
    seed: int = 0

    def __len__(self) -> int:
        """Number of gradients."""
        return self.steps

    def __getitem__(self, step: int) -> Parameters:
        """A new dict of the shared arrays of one step."""
        return dict(_record(self.problem, self.steps, self.seed)[step])

    def __iter__(self) -> Iterator[Parameters]:
        """The gradient dicts in order."""
        return (self[step] for step in range(self.steps))


@cache
def _record(name: str, steps: int, seed: int) -> tuple[Parameters, ...]:
    problem = look_up(name, seed)
    parameters = problem.initial_parameters()
    recorded = []
    for step in range(steps):
        gradients = problem.gradients(parameters, step)
        for leaf, gradient in gradients.items():
            gradient.flags.writeable = False
            parameters[leaf] = parameters[leaf] - problem.learning_rate * gradient
        recorded.append(gradients)
    return tuple(recorded)
