"""`DetectorLayer`: verdicts on inputs, inside any Keras model."""

import contextlib
import dataclasses
import functools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks import BIM, StepAttack
from a2d_keras.attacks.base import count_slots
from a2d_keras.attacks.engine.compiled import CACHE
from a2d_keras.attacks.engine.shapes import column
from a2d_keras.attacks.engine.slots import Loop, Task
from a2d_keras.classifier import Classifier
from a2d_keras.detection.rules import make_verdict
from a2d_keras.statistics.attack_cost import measure
from a2d_keras.validation import require, require_slots

_FIRST_STEP = 0.0006  # of the input range: the paper's, on MNIST
_MOST_HALVINGS = 11  # beyond them a step comes near the resolution of float32
_MOST_TO_CHOOSE_ON = 1000  # inputs
_ROOM = 20  # steps that all but a few benign inputs should withstand
_LEAST_THRESHOLD = 3


@keras.saving.register_keras_serializable(package="a2d_keras")
class DetectorLayer(keras.layers.Layer):
    """Tell for every input whether it is adversarial, inside any Keras model.

    The layer runs the classifier, attacks each input, and judges by how many steps that takes.
    Call `adapt` with benign inputs first. A verdict takes only as many steps as settle it.

    Args:
        model: The trained classifier, a built `keras.Model`. It is left as it is.
        bounds: Smallest and largest value an input may hold. Defaults to (0.0, 1.0).
        attacks: The attacks. By default one `BIM`, whose step `adapt` chooses: from 0.0006
            downwards, by halves, until all but a share `false_positive_rate` of benign inputs
            withstand 20 steps.
        detector: `"zscore"`, a `ZScoreDetector` that learns from benign inputs alone, or
            `"knn"`, the 100 nearest of benign and adversarial inputs. Defaults to `"zscore"`.
        false_positive_rate: The rate of benign inputs that may be flagged; a `"knn"` detector
            only chooses the step by it. Defaults to 0.05.
        exact: Whether every attack runs to its end, for exact costs. Defaults to False.
        on_invalid: What to do with inputs that are not finite or out of bounds: `"raise"`, or
            `"flag"`, which flags them with score NaN and cost 0. Defaults to `"raise"`.
        from_logits: What the model's outputs are; see `Classifier`. Defaults to None.
        slots: Inputs under attack at once, or `"auto"`, the fastest number on this machine; see
            `Attack`. Defaults to 128.
        on_changed_weights: What `check_weights` does where the classifier's weights are not those
            that `adapt` saw: `"raise"` or `"warn"`. Defaults to `"raise"`.
        precision: What the classifier computes in under attack; see `Classifier`. Predictions
            stay the model's own. Defaults to `"float32"`.

    Call arguments:
        x: Inputs, (n, *input_shape).

    Returns:
        A dict: `predictions`, the model's own; `is_adversarial`, bool, (n,); `score`, float32,
        (n,), higher is more adversarial; `cost`, int64, (n, attacks), 0 for an attack that was
        not needed; `exact`, bool, (n,), whether all attacks ran to the end: where not, score and
        cost are bounds.

    Raises:
        ValueError: If an argument is out of its range, an input is not what the classifier takes,
            or the layer has not been adapted; inside a graph `tf.errors.InvalidArgumentError`.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layer = DetectorLayer(model)
        >>> layer.adapt(np.random.default_rng(0).uniform(size=(100, 4)), verbose=0)
        >>> sorted(layer(np.full((2, 4), 0.5)))
        ['cost', 'exact', 'is_adversarial', 'predictions', 'score']
    """

    def __init__(
        self,
        model: keras.Model,
        bounds: tuple[float, float] = (0.0, 1.0),
        attacks: Sequence[StepAttack] | None = None,
        detector: str = "zscore",
        false_positive_rate: float = 0.05,
        exact: bool = False,
        on_invalid: str = "raise",
        from_logits: bool | None = None,
        slots: int | str = 128,
        on_changed_weights: str = "raise",
        precision: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.supports_jit = False  # Keras would compile dynamic shapes and checks with XLA unasked
        if on_invalid not in ("raise", "flag"):
            raise ValueError(f'`on_invalid` must be "raise" or "flag". Received: {on_invalid!r}')
        if on_changed_weights not in ("raise", "warn"):
            raise ValueError(
                f'`on_changed_weights` must be "raise" or "warn". Received: {on_changed_weights!r}'
            )
        require_slots(slots)
        self.model = model
        self.classifier = Classifier(
            model, bounds=bounds, from_logits=from_logits, precision=precision
        )
        self.detector = detector
        self.false_positive_rate = false_positive_rate
        self.exact = exact
        self.on_invalid = on_invalid
        self.from_logits = from_logits
        self.slots = slots
        self.on_changed_weights = on_changed_weights
        self._given_attacks = None if attacks is None else _in_graph(attacks, self.classifier)
        first = keras.initializers.Constant(_FIRST_STEP)
        self._eps_iter = self.add_weight(
            name="eps_iter", shape=(), initializer=first, trainable=False
        )
        self._adapted = self.add_weight(
            name="adapted", shape=(), dtype="bool", initializer="zeros", trainable=False
        )
        self._weights_hash = self.add_weight(
            name="weights_hash", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        self.verdict = make_verdict(detector, self.attacks, false_positive_rate)
        compiled = tf.function(self._detect, autograph=False)
        self._detect_compiled = lambda *args: compiled(*args)  # export() would follow a function
        self.built = True

    @property
    def attacks(self) -> tuple[StepAttack, ...]:
        """The attacks, with the step that `adapt` chose."""
        if self._given_attacks:
            return self._given_attacks
        step = keras.ops.convert_to_numpy(self._eps_iter)
        return (BIM(eps_iter=float(str(step))),)  # as the shortest decimal that float32 holds

    @property
    def slot_counts(self) -> tuple[int, ...]:
        """How many inputs each attack has under attack at once; `"auto"` is found when asked."""
        attacks = self._given_attacks or (BIM(),)  # steps of any length take the same time
        return tuple(count_slots(self.slots, attack, self.classifier) for attack in attacks)

    @property
    def thresholds(self) -> np.ndarray:
        """The steps after which each attack has said all it can; int64, (attacks,).

        For a `"zscore"` detector: the smallest cost that counts as benign.
        """
        return keras.ops.convert_to_numpy(self.verdict.budgets)

    @property
    def up_to_date(self) -> bool:
        """Whether the layer is adapted, and to the weights that the classifier has now."""
        if not self._adapted.numpy():
            return False
        return self.classifier.weights_hash() == int(self._weights_hash.numpy())

    @property
    def benign_costs(self) -> np.ndarray:
        """How many of the inputs adapted on had each cost, from 0 up; int64, (attacks, costs)."""
        return keras.ops.convert_to_numpy(self.verdict.benign_costs)

    @property
    def max_queries_per_input(self) -> int:
        """The most queries that one input can take, whatever it holds; int.

        That is its prediction, and every attack to the end of what it may spend: until the verdict
        is settled, or all steps where costs are exact or `adapt` was not called.
        """
        attacks = self.attacks
        settled = keras.ops.convert_to_numpy(self._adapted) and not self.exact
        steps = self.thresholds if settled else [attack.max_iterations for attack in attacks]
        spent = zip(attacks, steps, strict=True)
        return 1 + sum(attack.max_queries(self.classifier, int(budget)) for attack, budget in spent)

    def adapt(self, benign: Any, adversarial: Any = None, verbose: int = 1) -> None:
        """Learn what attacks cost on benign inputs.

        Args:
            benign: Benign inputs that the classifier was not trained on: an array or tensor
                (n, *input_shape), or a `tf.data.Dataset` of batches of them, alone or as the
                first of a tuple.
            adversarial: Adversarial inputs, likewise; for a `"knn"` detector only.
            verbose: 1 shows progress and what was learned, 0 is silent. Defaults to 1.

        Raises:
            ValueError: If inputs are not what the classifier takes, if they are too few for the
                false positive rate, or if adversarial ones are missing or not wanted. After any
                error, and after Ctrl-C, the layer is as it was.
        """
        self.verdict.require_kinds(adversarial is not None)
        weights_hash = self.classifier.weights_hash()
        attacks: tuple[Any, ...] = self._given_attacks or (self._choose_step(benign),)

        def measured(x: Any) -> tuple[np.ndarray, np.ndarray]:
            return measure(self.classifier, attacks, x, self.slots, verbose)

        costs, passes = measured(benign)
        others = None if adversarial is None else measured(adversarial)[0]
        with self._all_or_nothing():
            self.verdict.learn(costs, others, passes)
            if self._given_attacks is None:
                self._eps_iter.assign(attacks[0].eps_iter)
            self._weights_hash.assign(weights_hash)
            self._adapted.assign(True)
        CACHE.pop(self.classifier, None)
        self._report(verbose)

    def check(self, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Refuse inputs that cannot be judged.

        Args:
            x: Inputs, (n, *input_shape).

        Returns:
            The inputs as float32, and which rows are invalid, bool, (n,).

        Raises:
            ValueError: If `adapt` was not called, or the inputs are not what the classifier takes;
                inside a graph `tf.errors.InvalidArgumentError`.
        """
        images = inputs.to_images(x, self.classifier)
        self._require_adapted()
        valid, found = inputs.validity(images, self.classifier)
        invalid = ~valid
        if self.on_invalid == "raise":
            inputs.require_valid(found, self.classifier)
        return images, invalid

    def check_array(self, x: Any) -> None:
        """Refuse inputs as `check` does, a part at a time, however many they are; not graph code.

        Args:
            x: Inputs, an array or tensor, (n, *input_shape).

        Raises:
            ValueError: As `check`.
        """
        x = inputs.as_inputs(x, self.classifier)
        self._require_adapted()
        if self.on_invalid == "raise":
            inputs.validate(x, self.classifier)

    def check_weights(self) -> None:
        """Refuse to judge by costs that belong to other weights; not graph code.

        A hash of the weights' bits and of a `precision` below float32, kept by `adapt`, tells.
        `GuardedModel.predict` checks once a call; calling the layer does not, nor does an exported
        model, whose weights are frozen.

        Raises:
            ValueError: If the layer is adapted, and the classifier's weights have changed since;
                with `on_changed_weights="warn"` it warns instead.
        """
        if self.up_to_date or not self._adapted.numpy():
            return
        sentence = (
            "The classifier's weights have changed since `adapt`, or its precision has, and attack "
            "costs belong to one of each: call `adapt` with benign inputs again (`AdaptDetector` "
            f"does so after training). Received: {self.model.name!r}, changed since"
        )
        if self.on_changed_weights == "raise":
            raise ValueError(sentence)
        warnings.warn(sentence, stacklevel=3)

    def call(self, x: Any) -> dict[str, Any]:
        """Predict, and judge; see the class."""
        images, invalid = self.check(x)
        detect = self._detect_compiled if tf.executing_eagerly() else self._detect
        return {"predictions": self.classifier.predictions(x), **detect(images, invalid)}

    def compute_output_spec(self, x: Any) -> dict[str, Any]:
        """Describe the outputs without running an attack."""
        batch = x.shape[0]
        return {
            "predictions": self.classifier.predictions_spec(x),
            "is_adversarial": keras.KerasTensor((batch,), "bool"),
            "score": keras.KerasTensor((batch,), "float32"),
            "cost": keras.KerasTensor((batch, len(self.attacks)), "int64"),
            "exact": keras.KerasTensor((batch,), "bool"),
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as Keras's serialization asks."""
        attacks = self._given_attacks
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "bounds": self.classifier.bounds,
            "attacks": attacks and [keras.saving.serialize_keras_object(a) for a in attacks],
            "detector": self.detector,
            "false_positive_rate": self.false_positive_rate,
            "exact": self.exact,
            "on_invalid": self.on_invalid,
            "from_logits": self.from_logits,
            "slots": self.slots,
            "on_changed_weights": self.on_changed_weights,
            "precision": self.classifier.precision,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DetectorLayer":
        """Make a layer from what `get_config` returned."""
        deserialized = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("model", "attacks")
        }
        return cls(**{**config, **deserialized})

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Give the weights that `adapt` sets their old values back where it does not finish."""
        learned = [*self.verdict.weights, self._eps_iter, self._weights_hash, self._adapted]
        before = [keras.ops.convert_to_numpy(weight).copy() for weight in learned]
        try:
            yield
        except BaseException:  # and Ctrl-C
            for weight, value in zip(learned, before, strict=True):
                weight.assign(value)
            raise

    def _require_adapted(self) -> None:
        require(
            tf.convert_to_tensor(self._adapted),
            "The detector does not know yet what attacks cost: call `adapt` with benign inputs "
            f"first. Received: {self.name!r}, not adapted",
        )

    def _choose_step(self, benign: Any) -> BIM:
        """Halve BIM's step until nearly all benign inputs withstand enough of them to tell."""
        weak = inputs.first(benign, self.classifier, _MOST_TO_CHOOSE_ON)
        allowed = math.floor(self.false_positive_rate * (len(weak) - 1))
        for halvings in range(_MOST_HALVINGS + 1):
            attack = BIM(eps_iter=_FIRST_STEP / 2**halvings)
            costs = attack(self.classifier, weak, budget=_ROOM, slots=self.slots).cost
            weak = weak[costs < _ROOM]  # what withstands large steps withstands small ones
            if len(weak) <= allowed:
                return attack
        warnings.warn(
            f"Even steps of {attack.eps_iter:.1e} of the input range change the prediction on "
            f"benign inputs in fewer than {_ROOM}: this classifier is too fragile to guard well. "
            f"Received: {type(self.model).__name__} {self.model.name!r}",
            stacklevel=3,
        )
        return attack

    def _report(self, verbose: int) -> None:
        if verbose:
            for attack, threshold in zip(self.attacks, self.thresholds, strict=True):
                print(f"{self.detector} adapted: {threshold} steps settle a verdict of {attack}")
        if (self.thresholds < _LEAST_THRESHOLD).any():
            warnings.warn(
                "Benign inputs withstand so few steps that nearly nothing can be flagged; take "
                "smaller steps (`eps_iter`), or let `attacks=None` choose them. Received: "
                f"thresholds {self.thresholds} for {self.attacks}",
                stacklevel=3,
            )

    def _detect(self, images: tf.Tensor, invalid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Attack the valid inputs, the cheapest attack first, while that can change a verdict."""
        low, high = self.classifier.bounds
        images = tf.clip_by_value(tf.where(column(invalid, images), low, images), low, high)
        attacks = self._attacks_in_graph()
        costs = tf.zeros([tf.shape(images)[0], len(attacks)], tf.int64)

        def attack_next(place: int, costs: tf.Tensor, exact: tf.Tensor) -> tuple[tf.Tensor, ...]:
            going = ~invalid if self.exact else ~invalid & self.verdict.undecided(costs)
            index = self.verdict.order[place]
            runs = [
                functools.partial(self._attack, index, attack, images, going)
                for index, attack in enumerate(attacks)
            ]
            cost, ended = tf.switch_case(tf.cast(index, tf.int32), runs)
            costs += cost[:, None] * tf.one_hot(index, len(attacks), dtype=tf.int64)
            return place + 1, costs, exact & ended

        _, costs, exact = tf.while_loop(
            lambda place, *_: place < len(attacks), attack_next, (0, costs, ~invalid)
        )
        flagged, score = self.verdict(costs)
        return {
            "is_adversarial": flagged | invalid,
            "score": tf.where(invalid, np.nan, score),
            "cost": costs,
            "exact": exact,
        }

    def _attack(
        self, index: int, attack: StepAttack, images: tf.Tensor, going: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run one attack on some of the inputs; the others cost 0 and have not ended."""
        most = attack.max_iterations
        budget = tf.constant(most, tf.int64) if self.exact else self.verdict.budgets[index]
        rows = tf.where(going)
        chosen = tf.gather(images, rows[:, 0])
        task = Task(chosen, tf.zeros_like(rows[:, 0]), budget)  # without targets
        result = Loop(attack, self.classifier, self.slot_counts[index], images=False).run(task)
        ended = result.success | (result.cost >= most)
        count = tf.shape(going, tf.int64)
        return tf.scatter_nd(rows, result.cost, count), tf.scatter_nd(rows, ended, count)

    def _attacks_in_graph(self) -> tuple[StepAttack, ...]:
        """The attacks, reading the step that `adapt` chose when the graph runs."""
        step = tf.convert_to_tensor(self._eps_iter)
        return self._given_attacks or (dataclasses.replace(BIM(), eps_iter=step),)


def _in_graph(attacks: Sequence[StepAttack], classifier: Classifier) -> tuple[StepAttack, ...]:
    chosen = tuple(attacks) if isinstance(attacks, Iterable) else ()
    fit = all(isinstance(attack, StepAttack) and not attack.targeted for attack in chosen)
    if not chosen or not fit:
        raise ValueError(
            "`attacks` must hold one attack or more that take steps, none of them targeted; None "
            f"chooses one. Received: {attacks}"
        )
    for attack in chosen:
        attack.require(classifier)
    return chosen
