"""`AttackCosts`: inputs to fingerprints, as a scikit-learn transformer."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from a2d_keras.attacks import BIM, Attack, AttackResult
from a2d_keras.classifier import Classifier


class AttackCosts(TransformerMixin, BaseEstimator):
    """Turn inputs into fingerprints: what each of several attacks costs on each input.

    The cost is the number of steps until the classifier's prediction changes, an integer from 1
    to the attack's `max_iterations` (Zhao et al. 2021, Section 4). There is nothing to fit. Any
    scikit-learn classifier can follow in a pipeline, such as `KNeighborsClassifier(100)`.

    Args:
        model: The trained classifier, a built `keras.Model`. `sklearn.base.clone` keeps it.
        attacks: The attacks, in the order of the columns. Defaults to `(BIM(),)`.
        bounds: Smallest and largest value an input may hold. Defaults to (0.0, 1.0).
        from_logits: What the model's outputs are; see `Classifier`. Defaults to None.
        slots: Inputs under attack at once, or `"auto"`, the fastest number on this machine; see
            `Attack`. Defaults to 128.
        verbose: 1 shows a progress bar for each attack, 0 is silent. Defaults to 0.
        precision: What the model computes in; see `Classifier`. Defaults to `"float32"`.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> AttackCosts(model).transform(np.full((2, 4), 0.5)).shape
        (2, 1)
    """

    def __init__(
        self,
        model: keras.Model,
        attacks: Sequence[Attack] = (BIM(),),
        bounds: tuple[float, float] = (0.0, 1.0),
        from_logits: bool | None = None,
        slots: int | str = 128,
        verbose: int = 0,
        precision: str = "float32",
    ) -> None:
        self.model = model
        self.attacks = attacks
        self.bounds = bounds
        self.from_logits = from_logits
        self.slots = slots
        self.verbose = verbose
        self.precision = precision

    def fit(self, x: Any = None, y: Any = None) -> "AttackCosts":
        """Do nothing: costs are measured, not learned.

        Args:
            x: Ignored.
            y: Ignored.

        Returns:
            This object.
        """
        return self

    def transform(self, x: Any) -> np.ndarray:
        """Measure the fingerprints.

        Args:
            x: Inputs within the bounds: an array or tensor (n, *input_shape), or a
                `tf.data.Dataset` of batches of them, alone or as the first of a tuple.

        Returns:
            The costs, int64, (n, attacks).

        Raises:
            ValueError: If the inputs are not what the classifier takes; from a dataset
                `tf.errors.InvalidArgumentError`.
        """
        return measure(self._classifier(), self.attacks, x, self.slots, self.verbose)[0]

    def attack(self, x: Any, budget: int | None = None) -> list[AttackResult]:
        """Run every attack, and keep all that it found.

        Args:
            x: Inputs, as for `transform`.
            budget: Steps an input may take. Defaults to each attack's `max_iterations`.

        Returns:
            An `AttackResult` of NumPy arrays for each attack.
        """
        classifier = self._classifier()
        return [
            attack(classifier, x, budget=budget, slots=self.slots, verbose=self.verbose)
            for attack in self.attacks
        ]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns, as scikit-learn's `set_output` asks.

        Args:
            input_features: Ignored.

        Returns:
            The attacks' names, numbered, such as `bim_0`.
        """
        names = [f"{type(a).__name__.lower()}_{i}" for i, a in enumerate(self.attacks)]
        return np.asarray(names, dtype=object)

    def _classifier(self) -> Classifier:
        """Wrap the model once, so that loops stay compiled until a parameter changes."""
        asked = (self.model, tuple(self.bounds), self.from_logits, self.precision)
        if getattr(self, "_asked", None) != asked:
            self._wrapped = Classifier(
                self.model,
                bounds=self.bounds,
                from_logits=self.from_logits,
                precision=self.precision,
            )
            self._asked = asked
        return self._wrapped

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("_asked", "_wrapped")}

    def __sklearn_clone__(self) -> "AttackCosts":
        return type(self)(**self.get_params(deep=False))

    def __sklearn_is_fitted__(self) -> bool:
        return True


def measure(
    classifier: Classifier, attacks: Sequence[Attack], x: Any, slots: int | str, verbose: int
) -> tuple[np.ndarray, np.ndarray]:
    """Measure what each of several attacks costs on each input, and the passes that it takes.

    Args:
        classifier: The `Classifier`.
        attacks: The attacks.
        x: Inputs, as for `Attack.__call__`.
        slots: Inputs under attack at once, or `"auto"`.
        verbose: 1 shows a progress bar for each attack, 0 is silent.

    Returns:
        The costs, and the passes through the classifier, forward and backward; int64,
        (n, attacks) each.
    """
    found = []
    for attack in attacks:
        results = attack.in_batches(classifier, x, slots=slots, images=False, verbose=verbose)
        kept = [(r.cost, r.queries + r.gradient_evaluations) for r in results]
        found.append(np.concatenate(kept, axis=1))
    costs, passes = np.stack(found, axis=2)
    return costs, passes
