"""The cost of attacking an input, as a statistic and as a scikit-learn transformer."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, TransformerMixin

from a2d_keras import inputs
from a2d_keras.attacks.base import Attack, StepAttack
from a2d_keras.attacks.engine.slots import AttackResult, SlotLoop, Task
from a2d_keras.attacks.gradient_sign import BIM
from a2d_keras.classifier import Classifier
from a2d_keras.options import RunOptions
from a2d_keras.statistics.base import Passes, State, Statistic, Tensors
from a2d_keras.statistics.step_size import FIRST_STEP, MAX_INPUTS, choose_step
from a2d_keras.statistics.view import View

_STARTS = 16


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True)
class AttackCost(Statistic):
    """The number of steps until an attack changes the prediction (Zhao et al. 2021, Section 4).

    Adversarial inputs lie just across a decision boundary, so they cost few steps.

    Args:
        attack: The attack, a `StepAttack` that is not targeted. By default a `BIM` whose step
            `fit` chooses: it starts at 0.0006 of the input range, and is halved until at most a
            share `false_positive_rate` of benign inputs flips in fewer than 20 steps.
        exact: Whether the attack always runs to its end, for exact costs. By default it stops
            once the verdict is settled, with the same verdicts. The rule `"fisher"` needs exact
            costs, and always runs to the end.
        tail: Which values are suspicious. Defaults to `"low"`.

    Raises:
        ValueError: If `attack` is not such an attack.

    Examples:
        >>> AttackCost(BIM(max_iterations=100)).max_iterations
        100
    """

    differentiable: ClassVar[bool] = False

    attack: StepAttack | None = None
    exact: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        attack = self.attack
        if attack is not None and (not isinstance(attack, StepAttack) or attack.targeted):
            raise ValueError(
                "`attack` must be an untargeted StepAttack, or None to let `adapt` choose one. "
                f"Received: {attack}"
            )

    @property
    def name(self) -> str:
        """Its name in tables, such as `cost_bim`."""
        return f"cost_{type(self.base_attack).__name__.lower()}"

    @property
    def max_iterations(self) -> int:
        """The largest cost."""
        return self.base_attack.max_iterations

    @property
    def base_attack(self) -> StepAttack:
        """The attack, without what `fit` learns."""
        return BIM() if self.attack is None else self.attack

    def require(self, classifier: Classifier) -> None:
        """Refuse a classifier that the attack cannot work on."""
        self.base_attack.require(classifier)

    def initial_state(self, classifier: Classifier) -> State:
        """Return the first step to try, and zeros for inputs to start from, if needed."""
        state: State = {}
        if self.attack is None:
            state["eps_iter"] = np.asarray(FIRST_STEP, "float32")
        if self._wants_starts(classifier):
            shape = [side or 1 for side in classifier.input_shape]  # no side is open here
            state["starts"] = np.zeros((_STARTS, *shape), "float32")
        return state

    def fit(
        self, classifier: Classifier, benign: Any, false_positive_rate: float, slots: int | str
    ) -> State:
        """Choose the step, or keep benign inputs to start from."""
        state = self.initial_state(classifier)
        if not state:
            return state
        first = inputs.first(benign, classifier, MAX_INPUTS)
        if "eps_iter" in state:
            chosen = choose_step(classifier, first, false_positive_rate, slots)
            state["eps_iter"] = np.asarray(chosen.eps_iter, "float32")
        if "starts" in state:
            state["starts"] = first[_of_all_classes(classifier, first)]
        return state

    def passes(self, classifier: Classifier) -> Passes:
        """Return the largest number of passes; see `Statistic.passes`."""
        queries = self.base_attack.max_queries(classifier, self.max_iterations)
        return Passes(queries, queries)

    def describe(self, classifier: Classifier, state: State) -> str:
        """Name the step that was chosen; see `Statistic.describe`."""
        return f"{self}, with steps of {state['eps_iter']}" if "eps_iter" in state else str(self)

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute exact costs; see `Statistic.measure`. XLA cannot compile their loop."""
        attack = self.base_attack
        result = self.run(view, state, tf.constant(attack.max_iterations, tf.int64))
        return tf.cast(result.cost, tf.float32)

    def run(self, view: View, state: Tensors, budget: tf.Tensor) -> AttackResult:
        """Attack the inputs. Graph code.

        Args:
            view: The `View` of the inputs.
            state: What `fit` returned, as tensors.
            budget: The largest number of steps on an input, int64.

        Returns:
            An `AttackResult` of tensors, without images.
        """
        attack, classifier = self.base_attack, view.classifier
        task = Task(
            x=view.x,
            targets=tf.zeros(tf.shape(view.x)[:1], tf.int64),
            budget=budget,
            max_iterations=tf.constant(attack.max_iterations, tf.int64),
            parameters=self.parameters(classifier, state),
        )
        slots = attack.count_slots(classifier, view.slots)
        return SlotLoop(attack, classifier.unit, slots, images=False).run(task)

    def fitted(self, state: State) -> StepAttack:
        """Return the attack with what `fit` has learned.

        Args:
            state: What `fit` returned.

        Returns:
            The attack.
        """
        values: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
        if "eps_iter" in values:  # the shortest decimal that has this value in float32
            values["eps_iter"] = float(str(values["eps_iter"]))
        return dataclasses.replace(self.base_attack, **values)

    def parameters(
        self, classifier: Classifier, state: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Return the attack's tensor parameters, with what `fit` has learned. Graph code.

        Args:
            classifier: The `Classifier`.
            state: What `fit` returned, as tensors.

        Returns:
            A dict like that of `StepAttack.parameters`.
        """
        learned = dict(state)
        if "eps_iter" in learned:
            learned["eps_iter"] = tf.cast(learned["eps_iter"], tf.float64)
        if "starts" in learned:
            learned["starts"] = classifier.to_unit(learned["starts"])
        return {**self.base_attack.parameters(classifier), **learned}

    def _wants_starts(self, classifier: Classifier) -> bool:
        return None not in classifier.input_shape and getattr(self.attack, "starts", ...) is None


class Measured(NamedTuple):
    """The costs of several attacks on n inputs.

    Attributes:
        costs: Steps, int64, (n, attacks).
        queries: Forward passes, int64, (n, attacks).
        gradient_evaluations: Backward passes, int64, (n, attacks).
    """

    costs: np.ndarray
    queries: np.ndarray
    gradient_evaluations: np.ndarray


def measure(
    classifier: Classifier,
    attacks: Sequence[Attack],
    x: Any,
    *,
    options: RunOptions,
    verbose: int = 0,
) -> Measured:
    """Measure the costs of several attacks on each input.

    Args:
        classifier: The `Classifier`.
        attacks: The attacks.
        x: Inputs, as for `Attack.__call__`.
        options: The `RunOptions`. Images are never returned.
        verbose: 1 shows a progress bar for each attack, 0 is silent. Defaults to 0.

    Returns:
        The `Measured` costs.
    """
    run: dict[str, Any] = dataclasses.asdict(dataclasses.replace(options, images=False))
    columns = []
    for attack in attacks:
        results = attack.in_batches(classifier, x, verbose=verbose, **run)
        counts = [(r.cost, r.queries, r.gradient_evaluations) for r in results]
        columns.append(np.concatenate(counts, axis=1))
    return Measured(*np.stack(columns, axis=2))


class AttackCosts(TransformerMixin, BaseEstimator):
    """Turn inputs into fingerprints: the costs of several attacks on each input.

    The cost is the number of steps until the classifier's prediction changes, an integer from 1
    to the attack's `max_iterations` (Zhao et al. 2021, Section 4). There is nothing to fit. Any
    scikit-learn classifier can follow in a pipeline, such as `KNeighborsClassifier(100)`.

    Args:
        model: The trained classifier: a built `keras.Model` whose inputs lie between 0 and 1, or
            a `Classifier`. `sklearn.base.clone` keeps it.
        attacks: The attacks, in the order of the columns. Defaults to `(BIM(),)`.
        options: The `RunOptions`. Defaults to `RunOptions()`.
        verbose: 1 shows a progress bar for each attack, 0 is silent. Defaults to 0.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> AttackCosts(model).transform(np.full((2, 4), 0.5)).shape
        (2, 1)
    """

    def __init__(
        self,
        model: keras.Model | Classifier,
        *,
        attacks: Sequence[Attack] = (BIM(),),
        options: RunOptions = RunOptions(),  # noqa: B008 (frozen)
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.attacks = attacks
        self.options = options
        self.verbose = verbose

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
            ValueError: If the classifier does not take the inputs. From a dataset,
                `tf.errors.InvalidArgumentError`.
        """
        classifier = self._classifier()
        found = measure(classifier, self.attacks, x, options=self.options, verbose=self.verbose)
        return found.costs

    def attack(self, x: Any, *, budget: int | None = None) -> list[AttackResult]:
        """Run every attack, and return all its results.

        Args:
            x: Inputs, as for `transform`.
            budget: The largest number of steps on an input. Defaults to each attack's
                `max_iterations`.

        Returns:
            An `AttackResult` of NumPy arrays for each attack.
        """
        classifier, options = self._classifier(), dataclasses.asdict(self.options)
        return [
            attack(classifier, x, budget=budget, verbose=self.verbose, **options)
            for attack in self.attacks
        ]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns, for scikit-learn's `set_output`.

        Args:
            input_features: Ignored.

        Returns:
            The attacks' names, numbered, such as `bim_0`.
        """
        return np.asarray(column_names(self.attacks), dtype=object)

    def _classifier(self) -> Classifier:
        """Wrap the model only once, so that loops stay compiled."""
        if isinstance(self.model, Classifier):
            return self.model
        wrapped: Classifier | None = getattr(self, "_wrapped", None)
        if wrapped is None or wrapped.model is not self.model:
            wrapped = self._wrapped = Classifier(self.model)
        return wrapped

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_wrapped"}

    def __sklearn_clone__(self) -> "AttackCosts":
        return type(self)(**self.get_params(deep=False))

    def __sklearn_is_fitted__(self) -> bool:
        return True


def column_names(attacks: Iterable[Attack]) -> list[str]:
    """Return the names of the columns of several attacks' costs.

    Args:
        attacks: The attacks.

    Returns:
        Their names, numbered, such as `bim_0`.
    """
    return [f"{type(attack).__name__.lower()}_{index}" for index, attack in enumerate(attacks)]


def _of_all_classes(classifier: Classifier, x: np.ndarray) -> np.ndarray:
    """Choose inputs that cover as many predicted classes as possible; return their indices."""
    predicted = np.argmax(classifier.logits(tf.constant(x)), axis=-1)
    places = np.zeros(len(x), int)  # each input's place among those of its class
    for label in np.unique(predicted):
        members = predicted == label
        places[members] = np.arange(np.count_nonzero(members))
    return np.resize(np.lexsort((predicted, places)), _STARTS)
