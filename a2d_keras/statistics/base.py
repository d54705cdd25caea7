"""`Statistic`: a number for each input that tells benign from adversarial ones."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from a2d_keras.classifier import Classifier

if TYPE_CHECKING:
    from typing_extensions import Self

State = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Statistic(abc.ABC):
    """A number for each input. Small values, large values, or both are suspicious.

    A statistic is a value: immutable, and equal to another with the same parameters. It does not
    hold what it learns from benign inputs. `fit` returns that, and the caller keeps it, such as a
    `DetectorLayer` in its weights. A subclass is a frozen dataclass, registered with
    `keras.saving.register_keras_serializable`.

    Attributes:
        tail: Which values are suspicious: `"low"`, `"high"` or `"both"`.
    """

    tail: ClassVar[str]

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
