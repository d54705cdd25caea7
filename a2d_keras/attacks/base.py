"""`Attack`, the interface of every attack, and `StepAttack`, which the slot loop runs."""

import abc
import copy
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.engine import calibration
from a2d_keras.attacks.engine.compiled import Report, run_loop
from a2d_keras.attacks.engine.slots import AttackResult, Slots, Task
from a2d_keras.classifier import Classifier
from a2d_keras.options import RunOptions
from a2d_keras.progress import Bar
from a2d_keras.validation import require_whole

if TYPE_CHECKING:
    from typing_extensions import Self

Runner = Callable[[Task, Report | None], AttackResult]

_DEFAULT_SLOTS = 128
_BATCH_IN_SLOTS = 32  # inputs in the loop at once, as a multiple of its slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(abc.ABC):
    """An attack. Called on a classifier and inputs, it crafts adversarial examples.

    It also counts its steps. An attack is a value: immutable, and equal to another with the same
    parameters. A subclass is a frozen dataclass, registered with
    `keras.saving.register_keras_serializable`. Nearly all are `StepAttack`s.

    Args:
        max_iterations: Steps after which an input counts as resisting. Defaults to 500.
        targeted: Whether success means reaching a given target instead of leaving the
            classifier's own prediction. Defaults to False.
    """

    max_iterations: int = 500
    targeted: bool = False

    def __post_init__(self) -> None:
        require_whole("max_iterations", self.max_iterations)

    @abc.abstractmethod
    def runner(self, classifier: Classifier, run: RunOptions) -> Runner:
        """Make the function that runs the attack.

        Args:
            classifier: The `Classifier` under attack.
            run: The `RunOptions`, with a number of slots.

        Returns:
            A function that takes a `Task` and a callback (or None) for the number of finished
            inputs, and returns an `AttackResult` of tensors.
        """

    def require(self, classifier: Classifier) -> None:  # noqa: B027 (an optional hook)
        """Refuse a classifier that the attack cannot work on.

        Args:
            classifier: The `Classifier`.

        Raises:
            ValueError: If the attack cannot work on it. By default any classifier is accepted.
        """

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Return the parameters that enter the graph as tensors; see `StepAttack.traced`.

        Args:
            classifier: The `Classifier` under attack.

        Returns:
            A dict from their names to tensors. Empty by default.
        """
        return {}

    def best_slots(self, classifier: Classifier) -> int:
        """Return the number of slots that `slots="auto"` stands for.

        Args:
            classifier: The `Classifier` under attack.

        Returns:
            By default 128, for an attack without a step to time.
        """
        return _DEFAULT_SLOTS

    def count_slots(self, classifier: Classifier, slots: int | str) -> int:
        """Return how many slots the attack gets.

        Args:
            classifier: The `Classifier` under attack.
            slots: The number of slots, or `"auto"`.

        Returns:
            The number of slots.
        """
        return self.best_slots(classifier) if slots == "auto" else int(slots)

    def __call__(
        self,
        classifier: Classifier,
        x: Any,
        *,
        targets: Any = None,
        budget: int | None = None,
        verbose: int = 0,
        **options: Any,
    ) -> AttackResult:
        """Attack inputs, to craft adversarial examples or to measure attack costs.

        Args:
            classifier: The `Classifier` under attack.
            x: Inputs within the classifier's bounds: an array or tensor (n, *input_shape), or a
                `tf.data.Dataset` of batches of them, alone or as the first of a tuple.
            targets: Target labels of a targeted attack, int, (n,).
            budget: The largest number of steps on an input. Defaults to `max_iterations`, and
                never exceeds it.
            verbose: 1 shows a progress bar, 0 is silent. Defaults to 0.
            **options: The fields of `RunOptions`, such as `slots=512`.

        Returns:
            An `AttackResult` of NumPy arrays.

        Raises:
            ValueError: If inputs, targets or budget do not fit the classifier or the attack.
        """
        results = self.in_batches(
            classifier, x, targets=targets, budget=budget, verbose=verbose, **options
        )
        result: AttackResult = tf.nest.map_structure(lambda *rows: np.concatenate(rows), *results)
        return result

    def in_batches(
        self,
        classifier: Classifier,
        x: Any,
        *,
        targets: Any = None,
        budget: int | None = None,
        verbose: int = 0,
        **options: Any,
    ) -> Iterator[AttackResult]:
        """Attack inputs, and yield the results batch by batch, to limit memory.

        Args:
            classifier: As for a call of the attack.
            x: As for a call of the attack.
            targets: As for a call of the attack.
            budget: As for a call of the attack.
            verbose: As for a call of the attack.
            **options: As for a call of the attack.

        Yields:
            An `AttackResult` of NumPy arrays for each batch of inputs, in their order.

        Raises:
            ValueError: If inputs, targets or budget do not fit the classifier or the attack.
        """
        run, attacked = RunOptions(**options), classifier.unit
        x = inputs.as_inputs(x, classifier)
        count = inputs.count(x)
        self._require_call(classifier, targets, budget)
        _require_as_many(targets, count, count)
        run = dataclasses.replace(run, slots=self.count_slots(classifier, run.slots))
        attack, limit = self.runner(attacked, run), self.max_iterations
        steps = limit if budget is None else min(budget, limit)
        parameters = self.parameters(classifier)
        bar = Bar(f"attacking with {type(self).__name__}", count, verbose=verbose)
        done = 0
        for batch in inputs.batches(x, classifier, _BATCH_IN_SLOTS * int(run.slots)):
            size = len(batch)
            _require_as_many(targets, done + size, None)
            labels = np.zeros(size) if targets is None else np.asarray(targets)[done : done + size]
            task = Task(
                x=classifier.to_unit(batch),
                targets=tf.cast(labels, tf.int64),
                budget=tf.constant(steps, tf.int64),
                max_iterations=tf.constant(limit, tf.int64),
                parameters=parameters,
            )
            result = attack(task, functools.partial(_report, bar, done) if bar.shown else None)
            images = classifier.from_unit(result.adversarial) if run.images else ()
            result = result._replace(adversarial=images)
            yield tf.nest.map_structure(np.asarray, result)
            done += size
        bar.close()
        _require_as_many(targets, done, done)

    def _require_call(self, classifier: Classifier, targets: Any, budget: int | None) -> None:
        self.require(classifier)
        if self.targeted == (targets is None):
            raise ValueError(
                "A targeted attack needs `targets`, and no other attack takes them. "
                f"Received: targeted={self.targeted}, targets={targets}"
            )
        if targets is not None:
            _require_labels(targets, classifier.classes)
        if budget is not None:
            require_whole("budget", budget)

    def get_config(self) -> dict[str, Any]:
        """Return the parameters, for Keras's serialization.

        Returns:
            The constructor's arguments.
        """
        fields = dataclasses.fields(self)
        return {field.name: getattr(self, field.name) for field in fields if field.init}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        """Make an attack from what `get_config` returned.

        Args:
            config: The constructor's arguments.

        Returns:
            The attack.
        """
        read = keras.saving.deserialize_keras_object
        return cls(**{n: read(v) if isinstance(v, dict) else v for n, v in config.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepAttack(Attack):
    """An attack that the slot loop runs: it defines how to start and how to take one step.

    Both are graph code without AutoGraph: `tf.where` decides, not `if`.

    Attributes:
        traced: Names of the parameters that `start` and `step` see as tensors, int64 if they are
            declared `int` and float64 otherwise, so that a new value reuses the graph. Such a
            parameter may be used in tensor arithmetic only. Empty by default.

    Examples:
        >>> class Brighten(StepAttack):
        ...     def step(self, classifier, slots):
        ...         predicted = tf.argmax(classifier.logits(slots.x), axis=-1)
        ...         labels = tf.where(slots.steps == 0, predicted, slots.labels)
        ...         after = slots._replace(
        ...             x=tf.minimum(slots.x + 0.01 * classifier.range, classifier.bounds[1]),
        ...             labels=labels,
        ...             steps=slots.steps + 1,
        ...             queries=slots.queries + 1,
        ...         )
        ...         return after, predicted != labels
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> Brighten()(Classifier(model), np.full((2, 4), 0.5)).adversarial.shape
        (2, 4)
    """

    traced: ClassVar[tuple[str, ...]] = ()

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Return what the attack must remember about each input between its steps.

        Args:
            classifier: The `Classifier`.
            inputs: Inputs, float32, (slots, *input_shape).

        Returns:
            A nest of tensors of shape (slots, ...). Empty by default.
        """
        return ()

    @abc.abstractmethod
    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot, and return which slots had succeeded before it.

        Args:
            classifier: The `Classifier`.
            slots: The `Slots`.

        Returns:
            The slots after the step: `inputs` stay as received, and the attack sets the rest
            (`labels` only if it chooses them itself, at step 0). Also whether `slots.x`, as
            received, was a success already; bool, (slots,), ignored at step 0.
        """

    def max_queries(self, classifier: Classifier, budget: int) -> int:
        """Return the largest number of queries that any input can take.

        An attack that makes several queries in a pass, or has passes that are not steps, overrides
        this.

        Args:
            classifier: The `Classifier` under attack.
            budget: The largest number of steps on the input.

        Returns:
            By default one query for each step, and one after the last step.
        """
        return budget + 1

    def kind(self) -> Hashable:
        """Return a key that is equal for attacks with the same graph.

        Returns:
            The class, and all parameters that are not `traced`.
        """
        fields = (field.name for field in dataclasses.fields(self) if field.compare)
        return type(self), *((f, getattr(self, f)) for f in fields if f not in self.traced)

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Return the `traced` parameters; see `Attack.parameters`."""
        declared = {field.name: field.type for field in dataclasses.fields(self)}
        return {
            name: tf.constant(
                getattr(self, name),
                # The declared type, since 1 and 1.0 are one parameter, and share a graph.
                tf.int64 if declared[name] in (int, "int") else tf.float64,
            )
            for name in self.traced
        }

    def with_parameters(self, parameters: dict[str, tf.Tensor]) -> "Self":
        """Return a copy of this attack with tensors as parameters.

        Args:
            parameters: A dict from the parameters' names to tensors.

        Returns:
            An attack like this one, for graph code.
        """
        attack = copy.copy(self)
        for name, value in parameters.items():
            object.__setattr__(attack, name, value)  # the dataclass is frozen
        return attack

    def best_slots(self, classifier: Classifier) -> int:
        """Find the number of slots at which a step is fastest; see `Attack.best_slots`."""
        return calibration.best_slots(self, classifier)

    def runner(self, classifier: Classifier, run: RunOptions) -> Runner:
        """Return the slot loop for this attack; see `Attack.runner`."""
        return functools.partial(run_loop, self, classifier, run)


def _require_labels(targets: Any, classes: int) -> None:
    labels = np.asarray(targets)
    whole = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    if not whole or not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(
            f"`targets` must be whole numbers from 0 to {classes - 1}, one for each input. "
            f"Received: {targets}"
        )


def _require_as_many(targets: Any, minimum: int | None, maximum: int | None) -> None:
    if targets is None:
        return
    given = len(targets)
    if (minimum is not None and given < minimum) or (maximum is not None and given > maximum):
        raise ValueError(f"There must be as many `targets` as inputs. Received: {given}")


def _report(bar: Bar, before: int, finished: int) -> None:
    bar.update(before + finished)
