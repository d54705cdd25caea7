"""The substitute-model attack: attack a stand-in, knowing only the labels of the target."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.base import Attack, Runner
from a2d_keras.attacks.engine.compiled import Report
from a2d_keras.attacks.engine.slots import AttackResult, Task
from a2d_keras.attacks.gradient_sign import FGSM
from a2d_keras.classifier import Classifier
from a2d_keras.options import RunOptions
from a2d_keras.validation import require_fraction, require_whole

_FGSM = FGSM(eps=0.35)  # as Zhao et al. 2021 transfer it (Table 6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubstituteTraining:
    """How a substitute is trained.

    Args:
        rounds: How many times to double the inputs. Defaults to 5.
        epochs: Passes over the inputs in each training. Defaults to 10.
        step: Change of a pixel from an input to its copy, as a fraction of the input range.
            Defaults to 0.1.
        batch_size: Inputs in a batch. Defaults to 128.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> SubstituteTraining(rounds=2).epochs
        10
    """

    rounds: int = 5
    epochs: int = 10
    step: float = 0.1
    batch_size: int = 128

    def __post_init__(self) -> None:
        require_whole("rounds", self.rounds, minimum=0)
        require_whole("epochs", self.epochs)
        require_fraction("step", self.step)
        require_whole("batch_size", self.batch_size)


def train_substitute(
    classifier: Classifier,
    x: Any,
    model: keras.Model | None = None,
    *,
    seed: int = 0,
    verbose: int = 0,
    **training: Any,
) -> Classifier:
    """Train a substitute on a classifier's labels alone.

    Jacobian-based dataset augmentation (Papernot et al. 2017, Section 4.2): train, then move a
    copy of every input along the sign of the substitute's gradient at the label, get the label of
    each copy, and train on all of them. It makes len(x) * 2**rounds queries to the classifier.

    Args:
        classifier: The `Classifier` to imitate, which needs no gradient.
        x: Inputs to begin with, a hundred or so, not those to attack: an array or tensor
            (n, *input_shape), or a `tf.data.Dataset` of batches of them, alone or as the first of
            a tuple.
        model: The `keras.Model` to train, compiled for whole-number labels. It is changed.
            Defaults to a perceptron with two layers of 200 units, and Adam.
        seed: Seed of the default model's weights and of the order of training. Defaults to 0.
        verbose: 1 shows a progress bar for each training, 0 is silent. Defaults to 0.
        **training: As `SubstituteTraining` describes, such as `rounds=2`.

    Returns:
        The substitute, a `Classifier` with the bounds of `classifier`.

    Raises:
        ValueError: If an argument is out of range, the classifier does not take an input, or
            `model` is not compiled or does not fit the classifier.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> substitute = train_substitute(Classifier(model), np.eye(4), rounds=1, epochs=1)
        >>> substitute.classes
        3
    """
    how = SubstituteTraining(**training)
    require_whole("seed", seed, minimum=0)
    batch_size = how.batch_size
    images = tf.concat(list(inputs.batches(x, classifier, batch_size)), axis=0)
    if len(images) == 0:
        raise ValueError(f"`x` must hold inputs to learn from. Received: {images.shape}")
    generator = np.random.default_rng(seed)
    model = _perceptron(classifier, generator) if model is None else model
    _require_compiled(model)
    substitute = Classifier(model, bounds=classifier.bounds)
    _require_fit(substitute, classifier)
    labels = _labels(classifier, images, batch_size)
    for trained in range(how.rounds + 1):
        if trained:
            copies = _copies(substitute, images, labels, how.step, batch_size)
            images = tf.concat([images, copies], axis=0)
            labels = tf.concat([labels, _labels(classifier, copies, batch_size)], axis=0)
        order = np.concatenate([generator.permutation(len(images)) for _ in range(how.epochs)])
        model.fit(_in_order(images, labels, order, batch_size), shuffle=False, verbose=verbose)
    return substitute


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """An attack on a substitute, tried once on the classifier under attack.

    With `train_substitute` and `FGSM`, it is the attack that Zhao et al. 2021 call BB (Papernot et
    al. 2017). The classifier under attack returns labels only, and no gradient. Examples that end
    just across the substitute's boundary, such as those of `BIM`, seldom transfer. Every input
    costs 1, so this attack can craft, but it cannot guard. The configuration holds the substitute
    and its weights.

    Args:
        substitute: The `Classifier` to craft on, with the bounds of the one under attack.
        attack: The attack on the substitute. `targeted` follows it. Defaults to
            `FGSM(eps=0.35)`.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> other = Classifier(keras.models.clone_model(model))
        >>> Transfer(substitute=other)(Classifier(model), np.full((2, 4), 0.5)).cost
        array([1, 1])
    """

    substitute: Classifier
    attack: Attack = _FGSM
    max_iterations: int = dataclasses.field(default=1, init=False)
    targeted: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_type("substitute", self.substitute, Classifier)
        _require_type("attack", self.attack, Attack)
        object.__setattr__(self, "targeted", self.attack.targeted)

    def require(self, classifier: Classifier) -> None:
        """Refuse a classifier that the substitute cannot replace; see `Attack.require`."""
        _require_fit(self.substitute, classifier)
        self.attack.require(self.substitute)

    def best_slots(self, classifier: Classifier) -> int:
        """Find the best slots of the attack on the substitute; see `Attack.best_slots`."""
        return self.attack.best_slots(self.substitute)

    def runner(self, classifier: Classifier, run: RunOptions) -> Runner:
        """Return the function that runs the attack; see `Attack.runner`."""
        run = dataclasses.replace(run, images=True)
        attack = self.attack.runner(self.substitute.unit, run)
        limit = tf.constant(self.attack.max_iterations, tf.int64)
        parameters, slots = self.attack.parameters(self.substitute), int(run.slots)

        def transfer(task: Task, report: Report | None) -> AttackResult:
            task = task._replace(budget=limit, max_iterations=limit, parameters=parameters)
            adversarial = attack(task, report).adversarial
            found = _labels(classifier, adversarial, slots)
            if self.targeted:
                success = found == task.targets
            else:
                success = found != _labels(classifier, task.x, slots)
            once, never = tf.ones_like(found), tf.zeros_like(found)
            queries = once if self.targeted else 2 * once
            return AttackResult(adversarial, success, once, queries, never)

        return transfer

    def get_config(self) -> dict[str, Any]:
        """Return the attack, and the substitute with its weights; see `Attack.get_config`."""
        model = self.substitute.model
        parts = {"attack": self.attack, "model": model, "weights": model.get_weights()}
        config = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**config, **self.substitute.get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Transfer":
        """Make an attack from what `get_config` returned; see `Attack.from_config`."""
        settings = dict(config)
        attack, model, weights = (
            keras.saving.deserialize_keras_object(settings.pop(name))
            for name in ("attack", "model", "weights")
        )
        model.set_weights(weights)
        return cls(substitute=Classifier(model, **settings), attack=attack)


def _perceptron(classifier: Classifier, generator: np.random.Generator) -> keras.Model:
    layers, width = keras.layers, np.asarray(classifier.range)
    offset = -np.asarray(classifier.bounds[0]) / width
    model = keras.Sequential([keras.Input(classifier.input_shape)])
    model.add(layers.Rescaling((1 / width).tolist(), offset=offset.tolist()))
    model.add(layers.Flatten())
    for units, activation in ((200, "relu"), (200, "relu"), (classifier.classes, None)):
        kernel = keras.initializers.GlorotUniform(int(generator.integers(2**31)))
        model.add(layers.Dense(units, activation, kernel_initializer=kernel))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _copies(
    substitute: Classifier, images: tf.Tensor, labels: tf.Tensor, step: float, size: int
) -> tf.Tensor:
    """Move every input in the direction that changes the substitute's logit of its label most."""

    def moved(x: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        _, pullback = substitute.vjp(x)
        slope = pullback(tf.one_hot(label, substitute.classes))
        return tf.clip_by_value(x + step * substitute.range * tf.sign(slope), *substitute.bounds)

    return tf.concat(_in_batches(moved, size, images, labels), axis=0)


def _labels(classifier: Classifier, x: tf.Tensor, size: int) -> tf.Tensor:
    """Return a classifier's labels."""
    parts = _in_batches(lambda images: tf.argmax(classifier.logits(images), axis=-1), size, x)
    return tf.concat([tf.zeros(0, tf.int64), *parts], axis=0)


def _in_batches(
    function: Callable[..., tf.Tensor], size: int, *tensors: tf.Tensor
) -> list[tf.Tensor]:
    starts = range(0, len(tensors[0]), size)
    return [function(*(rows[start : start + size] for rows in tensors)) for start in starts]


def _in_order(
    images: tf.Tensor, labels: tf.Tensor, order: np.ndarray, size: int
) -> tf.data.Dataset:
    """Make a dataset of all epochs, since Keras's own shuffling depends on global seeds."""
    rows = tf.data.Dataset.from_tensor_slices(order).batch(size)
    return rows.map(lambda row: (tf.gather(images, row), tf.gather(labels, row)))


def _require_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"`{name}` must be of the type {kind.__name__}. Received: {value!r}")


def _require_compiled(model: keras.Model) -> None:
    if not model.compiled:
        raise ValueError(
            "`model` must be compiled, with a loss for whole-number labels such as "
            f"SparseCategoricalCrossentropy. Received: {model.name!r}, not compiled"
        )


def _require_fit(substitute: Classifier, classifier: Classifier) -> None:
    ours, theirs = (
        {
            "input shape": one.input_shape,
            "classes": one.classes,
            "bounds": one.get_config()["bounds"],
        }
        for one in (substitute, classifier)
    )
    if ours != theirs:
        raise ValueError(
            "A substitute must have the input shape, classes and bounds of the classifier, "
            f"{theirs}. Received: {ours}"
        )
