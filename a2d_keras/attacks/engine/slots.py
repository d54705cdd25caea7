"""The slot loop: one compiled loop runs any attack over any number of inputs.

A slot holds one input under attack. When the attack succeeds, or the budget runs out, the result is
written and the slot takes the next waiting input. So every pass works on a full batch, for any mix
of costs. When no input waits, the slots shrink with the inputs still running.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from a2d_keras.attacks.engine.shapes import column
from a2d_keras.classifier import Classifier

# Counts and labels are int64: TensorFlow keeps int32 tensors in the host's memory.
_COUNT = tf.int64


class Slots(NamedTuple):
    """A batch of inputs under attack, one per slot.

    Attributes:
        inputs: The original inputs, float32, (slots, *input_shape).
        x: The current iterates, like `inputs`.
        labels: The label attacked, or the target of a targeted attack, int64, (slots,).
        steps: Steps taken, int64, (slots,).
        queries: Forward passes, with or without a gradient, int64, (slots,).
        gradient_evaluations: Backward passes, int64, (slots,).
        exhausted: Whether the attack has nothing left to try, bool, (slots,).
        state: The attack's own state: first what its `start` returned, then what its last `step`
            set; (slots, ...) each.
    """

    inputs: tf.Tensor
    x: tf.Tensor
    labels: tf.Tensor
    steps: tf.Tensor
    queries: tf.Tensor
    gradient_evaluations: tf.Tensor
    exhausted: tf.Tensor
    state: Any


class AttackResult(NamedTuple):
    """The results of an attack on n inputs.

    Attributes:
        adversarial: The first iterate that succeeded, or else the last; float32,
            (n, *input_shape). `()` if images were not asked for.
        success: Whether the prediction left the label (targeted: reached the target); bool, (n,).
        cost: The number of steps until success, or else the budget. If the attack had nothing
            left to try, `max_iterations`; int64, (n,), at least 1.
        queries: Forward passes, with or without a gradient; int64, (n,).
        gradient_evaluations: Backward passes; int64, (n,).
    """

    adversarial: Any
    success: tf.Tensor
    cost: tf.Tensor
    queries: tf.Tensor
    gradient_evaluations: tf.Tensor


class Task(NamedTuple):
    """The work of a run.

    Attributes:
        x: Inputs, float32, (n, *input_shape).
        targets: The target of each, int64, (n,); untargeted attacks ignore it.
        budget: The largest number of steps on an input, int64; at most `max_iterations`.
        max_iterations: The cost of an input if the attack has nothing left to try, int64.
        parameters: The attack's parameters that are tensors; see `StepAttack.parameters`.
    """

    x: tf.Tensor
    targets: tf.Tensor
    budget: tf.Tensor
    max_iterations: tf.Tensor
    parameters: dict[str, tf.Tensor]


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
        waiting: The first input that no slot has taken yet; int64.
        rows: The input that each slot holds; n in an empty slot; int64, (slots,).
        slots: The `Slots`.
        result: The `AttackResult` so far, with a last row that empty slots write to.
    """

    waiting: tf.Tensor
    rows: tf.Tensor
    slots: Slots
    result: AttackResult


class SteppedAttack(Protocol):
    """What the loop needs of an attack; `StepAttack` documents each method."""

    def kind(self) -> Hashable:
        """Return a key that is equal for attacks with the same graph."""

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Return the parameters that enter the graph as tensors."""

    def with_parameters(self, parameters: dict[str, tf.Tensor]) -> "SteppedAttack":
        """Return a copy of the attack with tensors as parameters."""

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Return what the attack must remember about each input between its steps."""

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot, and return which slots had succeeded before it."""


class SlotLoop:
    """An attack on a classifier, run over any number of inputs. Every method is graph code.

    Args:
        attack: The `StepAttack`.
        classifier: The `Classifier`.
        slots: The number of inputs under attack at once.
        images: Whether the result holds the adversarial images. Costs do not need them, and on
            the CPU, TensorFlow copies all of them to write one. Defaults to True.
    """

    def __init__(
        self, attack: SteppedAttack, classifier: Classifier, slots: int, images: bool = True
    ) -> None:
        self.attack = attack
        self.classifier = classifier
        self.slots = slots
        self.images = images

    def run(self, task: Task) -> AttackResult:
        """Attack all inputs, from the first to the last.

        Args:
            task: The `Task`.

        Returns:
            An `AttackResult` of tensors.
        """
        return self.result(self.advance(task, self.begin(task), _length(task.x)))

    def run_static(self, task: Task) -> AttackResult:
        """Attack all inputs with static shapes, as XLA requires. Slots shrink by three quarters.

        Args:
            task: The `Task`, with a number of inputs that is known when the graph is traced.

        Returns:
            An `AttackResult` of tensors.
        """
        progress = self.begin(task)
        width = progress.rows.shape[0]
        while width:
            floor = width // 4

            def full(progress: Progress, floor: int = floor) -> tf.Tensor:
                return (progress.waiting < _length(task.x)) | (_live(progress) > floor)

            progress = _while(full, self._pass(task), progress)
            progress, width = _narrow(progress, floor), floor
        return self.result(progress)

    @staticmethod
    def result(progress: Progress) -> AttackResult:
        """Return the result of a finished run.

        Args:
            progress: The `Progress` at the end.

        Returns:
            An `AttackResult` of tensors.
        """
        result: AttackResult = tf.nest.map_structure(lambda rows: rows[:-1], progress.result)
        return result

    def begin(self, task: Task) -> Progress:
        """Fill the slots with the first inputs.

        Args:
            task: The `Task`.

        Returns:
            The `Progress` before the first pass.
        """
        shape = tf.shape(task.x)
        taken = tf.minimum(_length(task.x), self.slots)
        rows = tf.range(taken)
        blank = tf.concat([shape[:1] + 1, shape[1:]], axis=0)
        images = tf.zeros(blank, task.x.dtype) if self.images else ()
        counts = tf.zeros(shape[:1] + 1, _COUNT)
        result = AttackResult(images, tf.cast(counts, tf.bool), counts, counts, counts)
        return Progress(taken, rows, self._load(task, rows), result)

    def advance(self, task: Task, progress: Progress, goal: tf.Tensor) -> Progress:
        """Run until `goal` inputs have a result.

        Args:
            task: The `Task`, as for `begin`.
            progress: The `Progress` so far.
            goal: The number of results to reach, int64, at most n.

        Returns:
            The `Progress` then.
        """

        def unfinished(progress: Progress) -> tf.Tensor:
            return progress.waiting - _live(progress) < goal

        def full(progress: Progress) -> tf.Tensor:
            filled = _live(progress) > _fewer(progress)
            return unfinished(progress) & ((progress.waiting < _length(task.x)) | filled)

        def shrink_and_go_on(progress: Progress) -> Progress:
            return _while(full, self._pass(task), _shrink(progress))

        return _while(unfinished, shrink_and_go_on, progress, any_width=True)

    def _pass(self, task: Task) -> Callable[[Progress], Progress]:
        # A separate function, since TensorFlow lacks oneDNN's best kernels in a loop's graph.
        attack = self.attack.with_parameters(task.parameters)

        def finite_step(slots: Slots) -> tuple[Slots, tf.Tensor]:
            after, success = attack.step(self.classifier, slots)
            return _keep_finite(slots, after), success

        step: Callable[[Slots], tuple[Slots, tf.Tensor]] = tf.function(
            finite_step, autograph=False, experimental_attributes={"_noinline": True}
        )

        def one_pass(progress: Progress) -> Progress:
            before = progress.slots
            after, success = step(before)
            success &= before.steps > 0
            exhausted = after.exhausted & ~success
            ended = success | exhausted | (before.steps >= task.budget)
            ended &= _holds_input(progress)

            def settle() -> Progress:
                cost = tf.where(exhausted, task.max_iterations, before.steps)
                images = before.x if self.images else ()
                found = AttackResult(
                    images, success, cost, after.queries, after.gradient_evaluations
                )
                return self._refill(task, progress._replace(slots=after), ended, found)

            going: Progress = tf.cond(
                tf.reduce_any(ended), settle, lambda: progress._replace(slots=after)
            )
            return going

        return one_pass

    def _refill(
        self, task: Task, progress: Progress, ended: tf.Tensor, found: AttackResult
    ) -> Progress:
        """Write the results of ended slots, and give them the next waiting inputs."""
        count, nobody = tf.cast(ended, _COUNT), _length(task.x)
        written = tf.where(ended, progress.rows, nobody)[:, None]
        result = tf.nest.map_structure(
            lambda rows, values: tf.tensor_scatter_nd_update(rows, written, values),
            progress.result,
            found,
        )
        fresh = progress.waiting + tf.cumsum(count, exclusive=True)
        rows = tf.where(ended, tf.minimum(fresh, nobody), progress.rows)
        loaded = self._load(task, tf.minimum(rows, nobody - 1))
        # Unlike `tf.where`, this one selects rows without broadcasting.
        slots = tf.nest.map_structure(
            lambda new, old: tf.compat.v1.where(ended, new, old), loaded, progress.slots
        )
        waiting = tf.minimum(progress.waiting + tf.reduce_sum(count), nobody)
        return Progress(waiting, rows, slots, result)

    def _load(self, task: Task, rows: tf.Tensor) -> Slots:
        inputs, zeros = tf.gather(task.x, rows), tf.zeros_like(rows)
        labels, exhausted = tf.gather(task.targets, rows), tf.zeros_like(rows, tf.bool)
        state = self.attack.with_parameters(task.parameters).start(self.classifier, inputs)
        return Slots(inputs, inputs, labels, zeros, zeros, zeros, exhausted, state)


def _keep_finite(before: Slots, after: Slots) -> Slots:
    """Undo a step that leaves finite numbers, and mark the slot exhausted."""
    pixels = list(range(1, len(after.x.shape)))
    finite = tf.reduce_all(tf.math.is_finite(after.x), axis=pixels)
    x = tf.where(column(finite, after.x), after.x, before.x)
    return after._replace(x=x, exhausted=after.exhausted | ~finite)


def _length(x: tf.Tensor) -> tf.Tensor:
    return tf.shape(x, _COUNT)[0]


def _holds_input(progress: Progress) -> tf.Tensor:
    return progress.rows < _length(progress.result.cost) - 1


def _live(progress: Progress) -> tf.Tensor:
    return tf.math.count_nonzero(_holds_input(progress), dtype=_COUNT)


def _fewer(progress: Progress) -> tf.Tensor:
    """Return the next width. Widths are few, since devices prepare kernels for each."""
    return 7 * _length(progress.rows) // 8


def _shrink(progress: Progress) -> Progress:
    """Shrink to the next width, if that holds the inputs still running."""
    fewer = _fewer(progress)
    enough = _live(progress) <= fewer
    return _narrow(progress, tf.where(enough, fewer, _length(progress.rows)))


def _narrow(progress: Progress, width: int | tf.Tensor) -> Progress:
    """Keep `width` slots: first those that hold an input, then empty ones."""
    kept = tf.argsort(progress.rows, stable=True)[:width]
    rows, slots = tf.nest.map_structure(
        lambda values: tf.gather(values, kept), (progress.rows, progress.slots)
    )
    return progress._replace(rows=rows, slots=slots)


def _while(
    condition: Callable[[Progress], tf.Tensor],
    body: Callable[[Progress], Progress],
    progress: Progress,
    any_width: bool = False,
) -> Progress:
    """Loop over slots. With `any_width` their number may change."""
    shapes = tf.nest.map_structure(lambda tensor: tensor.shape, progress)
    if any_width:
        rows, slots = tf.nest.map_structure(
            lambda tensor: tf.TensorShape([None, *tensor.shape[1:]]),
            (progress.rows, progress.slots),
        )
        shapes = shapes._replace(rows=rows, slots=slots)
    ended: list[Progress] = tf.while_loop(
        condition, lambda progress: [body(progress)], [progress], [shapes]
    )
    return ended[0]
