"""`Statistic`: a number for each input that tells benign from adversarial ones."""

import abc
import dataclasses
import re
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.statistics.view import View
from a2d_keras.validation import require_choice

if TYPE_CHECKING:
    from typing_extensions import Self

State = dict[str, np.ndarray]
Tensors = dict[str, tf.Tensor]

TAILS = ("low", "high", "both")


class Passes(NamedTuple):
    """The passes through the classifier that a statistic takes for one input.

    The pass over the input itself does not count, nor does the gradient of its margin: all
    statistics share them.

    Attributes:
        queries: Forward passes, with or without a gradient.
        gradient_evaluations: Backward passes.

    Examples:
        >>> Passes(queries=5)
        Passes(queries=5, gradient_evaluations=0)
    """

    queries: int = 0
    gradient_evaluations: int = 0


@dataclasses.dataclass(frozen=True)
class Statistic(abc.ABC):
    """A number for each input. Small values, large values, or both are suspicious.

    A statistic is a value: immutable, and equal to another with the same parameters. It does not
    hold what it learns from benign inputs. `fit` returns that, and the caller keeps it, such as a
    `DetectorLayer` in its weights. A subclass is a frozen dataclass, registered with
    `keras.saving.register_keras_serializable`.

    Args:
        tail: Which values are suspicious: `"low"`, `"high"` or `"both"`. Defaults to `"low"`.

    Attributes:
        needs_gradient: Whether it uses the gradient that all statistics share. Defaults to False.
        differentiable: Whether an attacker can follow its gradient; see `a2d_keras.redteam`.
            Defaults to True.

    Examples:
        >>> class Confidence(Statistic):
        ...     def measure(self, view, state):
        ...         return tf.reduce_max(tf.nn.softmax(view.logits), axis=-1)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> view = View.of(Classifier(model), tf.ones((2, 4)))
        >>> Confidence().measure(view, {}).shape
        TensorShape([2])
    """

    needs_gradient: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True

    tail: str = dataclasses.field(default="low", kw_only=True)

    def __post_init__(self) -> None:
        require_choice("tail", self.tail, TAILS)

    @property
    def name(self) -> str:
        """Its name in columns and messages, such as `boundary_distance`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @abc.abstractmethod
    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the statistic. Graph code.

        Args:
            view: The `View` of the inputs.
            state: What `fit` returned, as tensors.

        Returns:
            A finite number for each input, float32, (n,), that does not depend on the others.
        """

    def passes(self, classifier: Classifier) -> Passes:
        """Return the largest number of passes of its own that an input can take.

        Args:
            classifier: The `Classifier`.

        Returns:
            The `Passes`. None by default.
        """
        return Passes()

    def is_random(self, classifier: Classifier) -> bool:
        """Return whether random numbers enter it, so that an attacker has to average over draws.

        Args:
            classifier: The `Classifier`.

        Returns:
            False by default.
        """
        return False

    def require(self, classifier: Classifier) -> None:  # noqa: B027 (an optional hook)
        """Refuse a classifier that the statistic cannot work on.

        Args:
            classifier: The `Classifier`.

        Raises:
            ValueError: If the statistic cannot work on it. By default any classifier is accepted.
        """

    def initial_state(self, classifier: Classifier) -> State:
        """Return the state of the statistic before `fit`.

        Args:
            classifier: The `Classifier`.

        Returns:
            A dict of arrays with the shapes and dtypes that `fit` returns. Empty by default.
        """
        return {}

    def fit(
        self, classifier: Classifier, benign: Any, false_positive_rate: float, slots: int | str
    ) -> State:
        """Learn from benign inputs.

        Args:
            classifier: The `Classifier`.
            benign: Benign inputs: an array or tensor (n, *input_shape), or a `tf.data.Dataset`
                of batches of them.
            false_positive_rate: The rate of benign inputs that may be flagged.
            slots: Inputs under attack at once; see `RunOptions`.

        Returns:
            A dict of arrays for the caller to keep. Empty by default.
        """
        return {}

    def describe(self, classifier: Classifier, state: State) -> str:
        """Describe the statistic, and what it has learned, in a few words.

        Args:
            classifier: The `Classifier`.
            state: What `fit` returned.

        Returns:
            By default the statistic as it was made.
        """
        return repr(self)

    def get_config(self) -> dict[str, Any]:
        """Return the parameters, for Keras's serialization.

        Returns:
            The constructor's arguments.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: keras.saving.serialize_keras_object(v) for name, v in values.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        """Make a statistic from what `get_config` returned.

        Args:
            config: The constructor's arguments.

        Returns:
            The statistic.
        """
        values = {n: keras.saving.deserialize_keras_object(v) for n, v in config.items()}
        return cls(**values)
