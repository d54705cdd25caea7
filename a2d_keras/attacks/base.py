"""`Attack`: the face of every attack; `StepAttack`: what the slot loop runs."""

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
from a2d_keras.validation import require_whole

if TYPE_CHECKING:
    from typing_extensions import Self

Runner = Callable[[Task, Report | None], AttackResult]

_DEFAULT_SLOTS = 128
_BATCH_IN_SLOTS = 32  # inputs given to the loop at once, as a multiple of its slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(abc.ABC):
    """An attack: called on a classifier and inputs, it crafts, and counts the steps it takes.

    An attack is a value: immutable, and equal to another with the same parameters. A subclass is
    a frozen dataclass, registered with `keras.saving.register_keras_serializable`. Nearly all
    are `StepAttack`s.

    Args:
        max_iterations: Steps after which an input counts as resisting. Defaults to 500.
        targeted: Whether success is to reach a given target, rather than to leave the
            classifier's own prediction. Defaults to False.
    """

    max_iterations: int = 500
    targeted: bool = False

    def __post_init__(self) -> None:
        require_whole("max_iterations", self.max_iterations)

    @abc.abstractmethod
    def runner(self, classifier: Classifier, run: RunOptions) -> Runner:
        """Make what runs the attack.

        Args:
            classifier: The `Classifier` under attack.
            run: The `RunOptions`, with a number of slots.

        Returns:
            A function of a `Task`, and of one that is told now and then how many inputs have
            their result, or None; to an `AttackResult` of tensors.
        """

    def require(self, classifier: Classifier) -> None:  # noqa: B027 (most ask for nothing)
        """Refuse a classifier that the attack cannot work on.

        Args:
            classifier: The `Classifier`.

        Raises:
            ValueError: If so. By default every classifier will do.
        """

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Give the parameters that enter the graph as tensors; see `StepAttack.traced`.

        Args:
            classifier: The `Classifier` under attack.

        Returns:
            A dict from their names to tensors. Empty by default.
        """
        return {}

    def best_slots(self, classifier: Classifier) -> int:
        """Tell what `slots="auto"` stands for.

        Args:
            classifier: The `Classifier` under attack.

        Returns:
            By default 128, for an attack that has no step to be timed.
        """
        return _DEFAULT_SLOTS

    def count_slots(self, classifier: Classifier, slots: int | str) -> int:
        """Tell how many slots the attack gets.

        Args:
            classifier: The `Classifier` under attack.
            slots: Their number, or `"auto"`.

        Returns:
            Their number.
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
        """Attack inputs: to craft adversarial examples, or to measure what it costs.

        Args:
            classifier: The `Classifier` under attack.
            x: Inputs within the classifier's bounds: an array or tensor (n, *input_shape), or a
                `tf.data.Dataset` of batches of them, alone or as the first of a tuple.
            targets: Target labels of a targeted attack, int, (n,).
            budget: Steps an input may take. Defaults to `max_iterations`, and never exceeds it.
            verbose: 1 shows a progress bar, 0 is silent. Defaults to 0.
            **options: As `RunOptions` describes, such as `slots=512`.

        Returns:
            An `AttackResult` of NumPy arrays.

        Raises:
            ValueError: If inputs, targets or budget do not fit the classifier or the attack.
        """
        results = self.in_batches(
            classifier, x, targets=targets, budget=budget, verbose=verbose, **options
        )
        whole: AttackResult = tf.nest.map_structure(lambda *rows: np.concatenate(rows), *results)
        return whole

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
        """Attack inputs, and give the results a batch at a time, so that nothing piles up.

        Args:
            classifier: As for a call of the attack.
            x: Likewise.
            targets: Likewise.
            budget: Likewise.
            verbose: Likewise.
            **options: Likewise.

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
        bar = keras.utils.Progbar(count, verbose=verbose, unit_name="input")
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
            result = attack(task, functools.partial(_report, bar, done) if verbose else None)
            images = classifier.from_unit(result.adversarial) if run.images else ()
            result = result._replace(adversarial=images)
            yield tf.nest.map_structure(np.asarray, result)
            done += size
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
        """Return the parameters, as Keras's serialization asks.

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
    """An attack that is a step: it says how to start and how to take one step, and never loops.

    Both are graph code as it stands, without AutoGraph: `tf.where` decides, not `if`.

    Attributes:
        traced: Names of the parameters that `start` and `step` see as tensors, int64 where they
            are declared `int` and float64 elsewhere, so that another value needs no other graph.
            They must be used in tensor arithmetic alone. By default no parameter is.

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
        """Make what the attack must remember of each input between its steps.

        Args:
            classifier: The `Classifier`.
            inputs: Inputs, float32, (slots, *input_shape).

        Returns:
            A nest of tensors of shape (slots, ...). Empty by default.
        """
        return ()

    @abc.abstractmethod
    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot, and tell which had arrived before it.

        Args:
            classifier: The `Classifier`.
            slots: The `Slots`.

        Returns:
            The slots after the step: `inputs` are as received, all else is the attack's to set
            (`labels` only where it chooses them itself, at step 0). And whether `slots.x`, as
            received, was a success already; bool, (slots,), ignored at step 0.
        """

    def max_queries(self, classifier: Classifier, budget: int) -> int:
        """Tell how many queries an input can take at most, whatever it holds.

        An attack that asks more than once in a pass, or has passes that are no step, says so here.

        Args:
            classifier: The `Classifier` under attack.
            budget: Steps the input may take.

        Returns:
            By default one query for each step, and one that finds the last step over.
        """
        return budget + 1

    def kind(self) -> Hashable:
        """Tell attacks that need different graphs apart.

        Returns:
            The class, and all parameters that are not `traced`.
        """
        fields = (field.name for field in dataclasses.fields(self) if field.compare)
        return type(self), *((f, getattr(self, f)) for f in fields if f not in self.traced)

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Give the `traced` parameters; see `Attack.parameters`."""
        declared = {field.name: field.type for field in dataclasses.fields(self)}
        return {
            name: tf.constant(
                getattr(self, name),
                # As declared, since 1 and 1.0 are one parameter, and share a graph.
                tf.int64 if declared[name] in (int, "int") else tf.float64,
            )
            for name in self.traced
        }

    def with_parameters(self, parameters: dict[str, tf.Tensor]) -> "Self":
        """Take tensors for parameters.

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
        """Find the count with which the attack's step is fastest; see `Attack.best_slots`."""
        return calibration.best_slots(self, classifier)

    def runner(self, classifier: Classifier, run: RunOptions) -> Runner:
        """Make what runs the attack: the slot loop; see `Attack.runner`."""
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


def _report(bar: keras.utils.Progbar, before: int, finished: int) -> None:
    bar.update(before + finished)
