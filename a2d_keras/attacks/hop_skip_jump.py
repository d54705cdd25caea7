"""HopSkipJump: an attack that estimates the boundary's direction from labels."""

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks.decision_based import (
    AT_ONCE,
    DecisionBasedAttack,
    by_phase,
    first,
    mean_square,
    narrowed,
    shares_between,
    to_uniform,
)
from a2d_keras.attacks.engine import randomness
from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_positive, require_whole

_FIRST_PROBE = 0.1  # length of the first probes, as a fraction of the input range
_FINEST = 2.0**-20  # a share of the distance that float32 can still tell

_DRAW, _BISECT, _ESTIMATE, _JUMP = range(4)


class _Hop(NamedTuple):
    """The progress of each slot."""

    key: tf.Tensor  # of its random numbers
    phase: tf.Tensor  # draw noise, bisect to the boundary, estimate its direction, jump from it
    iteration: tf.Tensor  # how many times the boundary was reached
    far: tf.Tensor  # the adversarial image from which the slot bisects, or did so last
    shares: tf.Tensor  # of the distance: the largest that fails and the smallest that succeeds
    outcomes: tf.Tensor  # how many probes were adversarial, and how many were not
    probes: tf.Tensor  # the sum of the probes with each outcome
    halvings: tf.Tensor  # of the length of the jump


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class HopSkipJump(DecisionBasedAttack):
    """HopSkipJump (Chen, Jordan, Wainwright 2020), L2 or L-inf. It needs labels only.

    It starts from uniform noise that is misclassified, and bisects to the boundary. From there it
    iterates: it estimates the direction of the boundary from the labels of random probes, jumps
    away from it by the longest of ever shorter steps that stays misclassified, and bisects to the
    boundary again. Iteration t takes `initial_evaluations` times the square root of t probes. The
    iterate is the nearest misclassified image that any bisection has found.

    A step is a pass of four queries, whatever they are for. Passes of noise that find no start are
    not counted. The attack ends when the iterate is nearer than `distance`. As with `DBA`, if 1,000
    images of noise are classified like the input, one of `starts` takes their place, and an input
    without a start resists.

    Args:
        norm: The norm to keep small: 2 or `np.inf`. Defaults to 2.
        distance: Distance at which the attack ends: the mean square of the changes, as a fraction
            of the squared input range, or with the norm `np.inf` the largest, as a fraction of the
            range. Defaults to 0.02.
        initial_evaluations: Probes of the first estimate. Defaults to 100.
        gamma: Precision of the bisections, and length of the probes. With n values in an input, a
            bisection ends at the share `gamma` / n**1.5 of the distance, or `gamma` / n**2 with
            the norm `np.inf`, and probes are `gamma` / n of the distance. Defaults to 1.0.
        seed: Seed of the random numbers, which depend on the input and not on its batch. Defaults
            to 0.
        starts: Inputs of several classes to start from, float32, (n, *input_shape). By default a
            guarded model takes some of the benign inputs of `adapt`. Defaults to None.
        max_iterations: Passes after which an input counts as resisting. Defaults to 5000.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> HopSkipJump(max_iterations=5)(Classifier(model), np.full((2, 4), 0.5)).queries <= 24
        array([ True,  True])
    """

    traced = ("distance", "initial_evaluations", "gamma", "seed", "max_iterations")

    norm: float = 2.0
    initial_evaluations: int = 100
    gamma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in (2, np.inf):
            raise ValueError(f"`norm` must be 2 or np.inf. Received: {self.norm}")
        object.__setattr__(self, "norm", float(self.norm))
        require_whole("initial_evaluations", self.initial_evaluations)
        require_positive("gamma", self.gamma)

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Begin at the draw of noise; see `StepAttack.start`."""
        zeros = tf.zeros(tf.shape(inputs)[:1], tf.int64)
        nothing = tf.zeros_like(flat(inputs))
        none = tf.zeros_like(zeros, tf.float32)
        return _Hop(
            key=randomness.keys(inputs, self.seed),
            phase=zeros + _DRAW,
            iteration=zeros,
            far=nothing,
            shares=tf.stack([none, none + 1], axis=1),
            outcomes=tf.stack([none, none], axis=1),
            probes=tf.stack([nothing, nothing], axis=1),
            halvings=zeros,
        )

    def max_queries(self, classifier: Classifier, budget: int) -> int:
        """Count all noise, starts and passes; see `StepAttack.max_queries`."""
        return AT_ONCE * (self.passes_to_start() + budget + 1)

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Evaluate a few images of every slot, for the phase it is in."""
        hop, source, x = slots.state, flat(slots.inputs), flat(slots.x)
        images = self._images(classifier, slots, source, x)
        labels, adversarial = self.ask(classifier, slots, images)

        deviation = self._deviation(x - source)
        nearer = self._deviation(images - source[:, None]) < deviation[:, None]
        after_hop = by_phase(
            hop.phase,
            [
                _bisect_from(hop, adversarial, images),
                self._bisected(hop, adversarial),
                self._estimated(hop, adversarial, images - x[:, None]),
                _bisect_from(hop, adversarial, images),
            ],
        )
        drawing, bisecting = hop.phase == _DRAW, hop.phase == _BISECT
        taken = adversarial & (drawing[:, None] | (bisecting[:, None] & nearer))
        found, moved = first(taken, images, x)
        queries = slots.queries + AT_ONCE
        # A pass that found no start is no step, since every input has its start, or resists.
        started = ~drawing | found
        after = slots._replace(
            x=tf.reshape(moved, tf.shape(slots.x)),
            labels=labels,
            steps=slots.steps + tf.cast(started, tf.int64),
            queries=queries,
            exhausted=~started & self.lacks_start(queries),
            state=after_hop,
        )
        unit = classifier.range**2 if self.norm == 2 else classifier.range
        return after, ~drawing & (deviation < tf.cast(self.distance * unit, tf.float32))

    def _images(
        self, classifier: Classifier, slots: Slots, source: tf.Tensor, x: tf.Tensor
    ) -> tf.Tensor:
        """Make the images to classify in each slot's phase; (slots, AT_ONCE, values)."""
        hop = slots.state
        normal = randomness.normal(hop.key, slots.queries, [AT_ONCE, tf.shape(x)[1]])
        options = [
            self.possible_starts(classifier, slots.queries, source, normal),
            self._between(hop, source),
            x[:, None] + self._probes(classifier, hop, source, normal),
            x[:, None] + self._jumps(hop, source, x),
        ]
        return tf.clip_by_value(by_phase(hop.phase, options), *classifier.bounds)

    def _between(self, hop: _Hop, source: tf.Tensor) -> tf.Tensor:
        """Project the far image to some shares of its distance."""
        away, shares = (hop.far - source)[:, None], shares_between(hop.shares)[:, :, None]
        if self.norm == 2:
            return source[:, None] + shares * away
        limit = shares * tf.reduce_max(tf.abs(away), axis=2, keepdims=True)
        return source[:, None] + tf.maximum(tf.minimum(away, limit), -limit)

    def _probes(
        self, classifier: Classifier, hop: _Hop, source: tf.Tensor, normal: tf.Tensor
    ) -> tf.Tensor:
        """Draw random directions, of a length that suits the distance from the boundary."""
        values = tf.cast(tf.shape(source)[1], tf.float32)
        length = self._finest(values) * (tf.sqrt(values) if self.norm == 2 else values)
        length *= self._length(hop.far - source)
        first_length = tf.cast(_FIRST_PROBE * classifier.range, tf.float32)
        length = tf.where(hop.iteration == 1, first_length, length)
        directions = normal if self.norm == 2 else to_uniform(normal)
        return length[:, None, None] * tf.math.l2_normalize(directions, axis=2)

    def _jumps(self, hop: _Hop, source: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Make jumps away from the boundary, each half as long as the one before."""
        adversarial, others = tf.unstack(
            tf.math.divide_no_nan(hop.probes, hop.outcomes[:, :, None]), axis=1
        )
        gradient = adversarial - others
        if self.norm == 2:
            direction = tf.math.divide_no_nan(gradient, tf.norm(gradient, axis=1, keepdims=True))
        else:
            direction = tf.sign(gradient)
        halvings = hop.halvings[:, None] + tf.range(AT_ONCE, dtype=tf.int64)
        longest = self._length(x - source) / _root(hop.iteration)
        lengths = longest[:, None] * 0.5 ** tf.cast(halvings, tf.float32)
        return lengths[:, :, None] * direction[:, None]

    def _bisected(self, hop: _Hop, adversarial: tf.Tensor) -> _Hop:
        """Narrow the shares of the distance at which the prediction changes."""
        shares = narrowed(hop.shares, adversarial)
        values = tf.cast(tf.shape(hop.far)[1], tf.float32)
        done = shares[:, 1] - shares[:, 0] <= self._finest(values)
        return hop._replace(
            phase=tf.where(done, np.int64(_ESTIMATE), np.int64(_BISECT)),
            iteration=hop.iteration + tf.cast(done, tf.int64),
            shares=shares,
            outcomes=tf.zeros_like(hop.outcomes),
            probes=tf.zeros_like(hop.probes),
        )

    def _estimated(self, hop: _Hop, adversarial: tf.Tensor, probes: tf.Tensor) -> _Hop:
        """Sum up probes by their outcomes, until there are enough for this iteration."""
        signs = tf.cast(tf.stack([adversarial, ~adversarial], axis=1), tf.float32)
        outcomes = hop.outcomes + tf.reduce_sum(signs, axis=2)
        enough = tf.cast(self.initial_evaluations, tf.float32) * _root(hop.iteration)
        done = tf.reduce_sum(outcomes, axis=1) >= enough
        return hop._replace(
            phase=tf.where(done, np.int64(_JUMP), np.int64(_ESTIMATE)),
            outcomes=outcomes,
            probes=hop.probes + tf.matmul(signs, probes),
            halvings=tf.zeros_like(hop.halvings),
        )

    def _finest(self, values: tf.Tensor) -> tf.Tensor:
        """Return the share of the distance to which a bisection narrows."""
        share = tf.cast(self.gamma, tf.float32) / values ** (1.5 if self.norm == 2 else 2.0)
        return tf.maximum(share, _FINEST)

    def _length(self, change: tf.Tensor) -> tf.Tensor:
        """Return the norm of the last axis."""
        if self.norm == 2:
            return tf.norm(change, axis=-1)
        return tf.reduce_max(tf.abs(change), axis=-1)

    def _deviation(self, change: tf.Tensor) -> tf.Tensor:
        """Return what `distance` limits."""
        return mean_square(change) if self.norm == 2 else self._length(change)


def _bisect_from(hop: _Hop, adversarial: tf.Tensor, images: tf.Tensor) -> _Hop:
    """Continue with a bisection, from the first image that is adversarial, if there is one."""
    found, far = first(adversarial, images, hop.far)
    return hop._replace(
        phase=tf.where(found, np.int64(_BISECT), hop.phase),
        far=far,
        shares=tf.tile([[0.0, 1.0]], [tf.shape(far)[0], 1]),
        halvings=hop.halvings + AT_ONCE,
    )


def _root(iteration: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.cast(iteration, tf.float32))
