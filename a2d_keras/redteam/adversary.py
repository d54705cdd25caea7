"""`Adversary`: an attack of the red team on a `Defence`."""

import abc
import dataclasses
import re
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from a2d_keras.redteam.defence import STRICT, Defence, Verdicts

if TYPE_CHECKING:
    from typing_extensions import Self


class Case(NamedTuple):
    """What an adversary is given.

    Attributes:
        defence: The `Defence`.
        x: Inputs that the classifier gets right, float32, (n, *input_shape).
        y: Their classes, int64, (n,).
        best: What earlier adversaries have made of them, like `x`; at first `x` itself.
    """

    defence: Defence
    x: np.ndarray
    y: np.ndarray
    best: np.ndarray

    @property
    def attacked(self) -> Any:
        """The defence, for attacks that take a `Classifier`."""
        return self.defence


class Crafted(NamedTuple):
    """What an adversary has made of n inputs.

    Attributes:
        x: The inputs to send, float32, (n, *input_shape).
        verdicts: The honest `Verdicts` on them.
        queries: Forward passes, int64, (n,), without those of the honest verdicts.
        gradient_evaluations: Backward passes, int64, (n,).
    """

    x: np.ndarray
    verdicts: Verdicts
    queries: np.ndarray
    gradient_evaluations: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversary(abc.ABC):
    """An attack on a classifier and the detector in front of it.

    A subclass is a frozen dataclass. One with a field `eps` stays within that distance of the
    input, L-inf, as a fraction of the input range.

    Attributes:
        needs_gradient: Whether it follows the detector's gradient. Defaults to False.
        limited: Whether it counts within the distance `eps` only. Defaults to True.
    """

    needs_gradient: ClassVar[bool] = False
    limited: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Its name in tables, such as `selective_pgd`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def effort(self) -> int:
        """How many rounds of passes an input takes at most, to foretell the time. By default 1."""
        return 1

    def within(self, eps: float) -> "Self":
        """Return the same adversary with another `eps`, if it has one.

        Args:
            eps: The largest change of a value, as a fraction of the input range.

        Returns:
            The adversary.
        """
        fields: set[str] = {field.name for field in dataclasses.fields(self)}
        changes: dict[str, Any] = {"eps": eps} if "eps" in fields else {}
        return dataclasses.replace(self, **changes)

    def suits(self, case: Case) -> bool:
        """Return whether the adversary can attack this defence.

        Args:
            case: The `Case`.

        Returns:
            By default whether the detector has the gradient that it needs.
        """
        return case.defence.differentiable or not self.needs_gradient

    @abc.abstractmethod
    def craft(self, case: Case) -> Crafted:
        """Attack all inputs.

        Args:
            case: The `Case`.

        Returns:
            What was `Crafted`.
        """


class Kept:
    """The best result for each input, over several tries.

    Of two results, one that is misclassified beats one that is not, and then a lower score of the
    detector beats a higher one.

    Args:
        case: The `Case`.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._x = case.x.copy()
        self._verdicts = case.defence.judge(case.x)
        self._queries, self._gradients = np.zeros((2, len(case.x)), "int64")

    @property
    def open(self) -> np.ndarray:
        """The inputs that are not yet misclassified and accepted at the strictest level."""
        labels, _, score = self._verdicts
        passes = (labels != self._case.y) & ~self._case.defence.flags(score, STRICT)
        return np.flatnonzero(~passes)

    def offer(self, rows: np.ndarray, x: np.ndarray) -> Verdicts:
        """Judge results, and keep those that are better.

        Args:
            rows: Which inputs they belong to, int, (m,).
            x: The results, float32, (m, *input_shape).

        Returns:
            The `Verdicts` on them.
        """
        new, y = self._case.defence.judge(x), self._case.y[rows]
        old = Verdicts(*(values[rows] for values in self._verdicts))
        fools, fooled = new.labels != y, old.labels != y
        better = (fools & ~fooled) | ((fools == fooled) & (new.score < old.score))
        taken = rows[better]
        self._x[taken] = x[better]
        for values, found in zip(self._verdicts, new, strict=True):
            values[taken] = found[better]
        return new

    def count(self, rows: np.ndarray, queries: Any, gradient_evaluations: Any) -> None:
        """Count passes.

        Args:
            rows: Which inputs took them, int, (m,).
            queries: Forward passes, (m,) or one number.
            gradient_evaluations: Backward passes, like `queries`.
        """
        self._queries[rows] += queries
        self._gradients[rows] += gradient_evaluations

    def crafted(self) -> Crafted:
        """Return the best results."""
        return Crafted(self._x, self._verdicts, self._queries, self._gradients)
