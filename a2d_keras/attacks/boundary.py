"""DBA: the boundary attack, which needs labels only."""

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
)
from a2d_keras.attacks.engine import randomness
from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_positive, require_whole

_CHECKED_STEP = 10  # every tenth step tests its proposals on the sphere first, to adapt lengths
_FINEST_BLEND = 0.001
_MAX_BLENDS = 5  # passes: each narrows the shares to a fifth
_SPHERICAL_WINDOW, _FULL_WINDOW = 100, 30
_CONVERGED = 1e-7  # a source step below this ends the walk
_UNKNOWN = -1.0  # in a window that is not full

_DRAW, _BLEND, _SPHERE, _WALK = range(4)


class _Path(NamedTuple):
    """The progress of each slot."""

    key: tf.Tensor  # of its random numbers
    phase: tf.Tensor  # draw noise, blend it with the input, try proposals on the sphere, walk
    blend: tf.Tensor  # shares of noise: the largest that fails and the smallest that succeeds
    tried: tf.Tensor  # the number of proposals of this step
    on_sphere: tf.Tensor  # which proposals of this pass may still be taken
    moved: tf.Tensor  # whether any step was taken
    spherical_step: tf.Tensor
    source_step: tf.Tensor
    spherical_window: tf.Tensor  # which of the last proposals were adversarial on the sphere
    full_window: tf.Tensor  # which of these still were after the step towards the source


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DBA(DecisionBasedAttack):
    """Decision-Based Attack, the boundary attack (Brendel et al. 2018), L2. It needs no gradient.

    It starts from uniform noise, blended with the input while it stays misclassified, and walks
    along the boundary towards the input. Each step tries proposals: a random direction on the
    sphere around the input, and then a little towards the input. It takes the first proposal that
    is adversarial and nearer. The walk ends when the mean squared distance falls below
    `distance`, so the cost grows with the distance from the boundary and with its curvature. The
    defaults are the defence DBA_d of Zhao et al. 2021 on MNIST. Proposals are evaluated four at a
    time.

    A classifier, often one of two classes, may classify 1,000 images of noise like the input. Then
    the walk starts from one of `starts`. An input without a start resists. So does one whose walk
    has converged, with a source step below 1e-7.

    Args:
        distance: Mean squared distance at which the walk ends, as a fraction of the squared input
            range. Defaults to 0.02.
        proposals: The largest number of proposals in a step. Defaults to 25.
        spherical_step: First length of a proposal on the sphere, as a fraction of the distance.
            Defaults to 0.01.
        source_step: First length of a step towards the input, as a fraction of the distance.
            Defaults to 0.01.
        step_adaptation: Factor of the adaptation of both lengths. Defaults to 1.5.
        seed: Seed of the random numbers, which depend on the input and not on its batch. Defaults
            to 0.
        starts: Inputs of several classes to start from, float32, (n, *input_shape). By default a
            guarded model takes some of the benign inputs of `adapt`. Defaults to None.
        max_iterations: Steps after which an input counts as resisting. Defaults to 5000.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> DBA(max_iterations=5)(Classifier(model), np.full((2, 4), 0.5)).gradient_evaluations
        array([0, 0])
    """

    traced = (
        "distance",
        "spherical_step",
        "source_step",
        "step_adaptation",
        "seed",
        "max_iterations",
    )

    proposals: int = 25
    spherical_step: float = 0.01
    source_step: float = 0.01
    step_adaptation: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("proposals", self.proposals)
        require_positive("spherical_step", self.spherical_step)
        require_positive("source_step", self.source_step)
        require_positive("step_adaptation", self.step_adaptation)

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Begin a path; see `StepAttack.start`."""
        count = tf.shape(inputs)[0]

        def fill(value: Any, *shape: int) -> tf.Tensor:
            return tf.fill([count, *shape], tf.convert_to_tensor(value))

        return _Path(
            key=randomness.keys(inputs, self.seed),
            phase=fill(np.int64(_DRAW)),
            blend=tf.stack([fill(0.0), fill(1.0)], axis=1),
            tried=fill(np.int64(0)),
            on_sphere=fill(True, AT_ONCE),
            moved=fill(False),
            spherical_step=fill(tf.cast(self.spherical_step, tf.float32)),
            source_step=fill(tf.cast(self.source_step, tf.float32)),
            spherical_window=fill(_UNKNOWN, _SPHERICAL_WINDOW),
            full_window=fill(_UNKNOWN, _FULL_WINDOW),
        )

    def max_queries(self, classifier: Classifier, budget: int) -> int:
        """Count all noise, starts, blends and proposals; see `StepAttack.max_queries`."""
        walks = -(-self.proposals // AT_ONCE)
        checked_steps = budget // _CHECKED_STEP  # these may try each proposal twice
        passes = self.passes_to_start() + _MAX_BLENDS + walks * (budget + checked_steps) + 1
        return AT_ONCE * passes

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Evaluate a few images of every slot: a complete step, or a part of one."""
        path, shape = slots.state, tf.shape(slots.x)
        source, x = flat(slots.inputs), flat(slots.x)
        images = self._images(classifier, slots, source, x)
        labels, adversarial = self.ask(classifier, slots, images)

        distance = mean_square(x - source)
        nearer = mean_square(images - source[:, None]) < distance[:, None]
        number = tf.range(AT_ONCE, dtype=tf.int64)
        within = path.tried[:, None] + number < self.proposals
        checked = (slots.steps + 1) % _CHECKED_STEP == 0
        options = [
            _drawn(path, adversarial),
            _blended(path, adversarial),
            _tried_on_sphere(path, adversarial & within, within),
            _walked(path, adversarial & path.on_sphere & within, nearer, checked),
        ]
        path, candidates = by_phase(path.phase, options)
        found, x = first(candidates, images, x)
        path, steps = self._finish(slots, path, found)
        queries = slots.queries + AT_ONCE
        near = tf.cast(self.distance * classifier.range**2, tf.float32)
        arrived = slots.state.moved & (distance < near)
        no_start = (path.phase == _DRAW) & self.lacks_start(queries)
        after = slots._replace(
            x=tf.reshape(x, shape),
            labels=labels,
            steps=steps,
            queries=queries,
            exhausted=no_start | (path.source_step < _CONVERGED),
            state=path,
        )
        return after, arrived

    def _images(
        self, classifier: Classifier, slots: Slots, source: tf.Tensor, x: tf.Tensor
    ) -> tf.Tensor:
        """Make the images to classify in each slot's phase; (slots, AT_ONCE, pixels)."""
        path = slots.state
        walking = path.phase >= _SPHERE
        draw = tf.where(walking, slots.steps * self.proposals + path.tried, -1 - slots.queries)
        normal = randomness.normal(path.key, draw, [AT_ONCE, tf.shape(x)[1]])
        options = [
            self.possible_starts(classifier, slots.queries, source, normal),
            _blends(path, source, x),
            *_proposals(classifier, path, source, x, normal),
        ]
        return by_phase(path.phase, options)

    def _finish(self, slots: Slots, path: _Path, found: tf.Tensor) -> tuple[_Path, tf.Tensor]:
        """Finish the steps that succeeded or have tried all proposals, and prepare the next."""
        walking = slots.state.phase >= _SPHERE
        taken = walking & found
        done = taken | (path.tried >= self.proposals)
        steps = slots.steps + tf.cast(done, tf.int64)
        both, spherical_window = self._factor(path.spherical_window, done)
        source, full_window = self._factor(path.full_window, done)
        checked = (steps + 1) % _CHECKED_STEP == 0
        first = tf.where(checked, np.int64(_SPHERE), np.int64(_WALK))
        path = path._replace(
            phase=tf.where(done, first, path.phase),
            tried=tf.where(done, np.int64(0), path.tried),
            on_sphere=path.on_sphere | done[:, None],
            moved=path.moved | taken,
            spherical_step=path.spherical_step * both,
            source_step=path.source_step * both * source,
            spherical_window=spherical_window,
            full_window=full_window,
        )
        return path, steps

    def _factor(self, window: tf.Tensor, done: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        share = tf.reduce_mean(window, axis=1)
        known = done & (tf.reduce_min(window, axis=1) > _UNKNOWN)
        grow, shrink = known & (share > 0.5), known & (share < 0.2)
        step_adaptation = tf.cast(self.step_adaptation, tf.float64)
        larger, smaller = (tf.cast(f, tf.float32) for f in (step_adaptation, 1 / step_adaptation))
        factor = tf.where(grow, larger, tf.where(shrink, smaller, 1.0))
        return factor, tf.where((grow | shrink)[:, None], _UNKNOWN, window)


def _blends(path: _Path, source: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Blend with shares of noise between the two known ones; `x` holds the larger."""
    shares = shares_between(path.blend) / path.blend[:, 1:]
    return source[:, None] + shares[:, :, None] * (x - source)[:, None]


def _proposals(
    classifier: Classifier, path: _Path, source: tf.Tensor, x: tf.Tensor, normal: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Propose a random direction on the sphere around the source, then a little towards it."""
    spherical, length = path.spherical_step[:, None, None], path.source_step[:, None, None]
    away = (x - source)[:, None]
    radius = tf.norm(away, axis=2, keepdims=True)
    outward = tf.math.divide_no_nan(away, radius)
    tangent = normal - tf.reduce_sum(normal * outward, axis=2, keepdims=True) * outward
    tangent *= spherical * radius / tf.norm(tangent, axis=2, keepdims=True)
    around = source[:, None] + (tangent + away) / tf.sqrt(spherical**2 + 1)
    around = tf.clip_by_value(around, *classifier.bounds)
    back = source[:, None] - around
    width = tf.norm(back, axis=2, keepdims=True)
    # Clipping has changed the radius, which this step corrects.
    share = tf.math.divide_no_nan(tf.maximum(length * radius + width - radius, 0), width)
    return around, tf.clip_by_value(around + share * back, *classifier.bounds)


def _drawn(path: _Path, adversarial: tf.Tensor) -> tuple[_Path, tf.Tensor]:
    """Continue with blending once an image of noise is misclassified."""
    found = tf.reduce_any(adversarial, axis=1)
    phase = tf.where(found, np.int64(_BLEND), np.int64(_DRAW))
    return path._replace(phase=phase), adversarial


def _blended(path: _Path, adversarial: tf.Tensor) -> tuple[_Path, tf.Tensor]:
    """Narrow the interval of the share of noise at which the prediction changes."""
    blend = narrowed(path.blend, adversarial)
    fine = blend[:, 1] - blend[:, 0] <= _FINEST_BLEND
    phase = tf.where(fine, np.int64(_WALK), np.int64(_BLEND))
    return path._replace(blend=blend, phase=phase), adversarial


def _tried_on_sphere(
    path: _Path, adversarial: tf.Tensor, within: tf.Tensor
) -> tuple[_Path, tf.Tensor]:
    """Continue towards the source from proposals that are adversarial on the sphere."""
    some = tf.reduce_any(adversarial, axis=1)
    path = path._replace(
        phase=tf.where(some, np.int64(_WALK), np.int64(_SPHERE)),
        tried=tf.where(some, path.tried, path.tried + AT_ONCE),
        on_sphere=adversarial,
        spherical_window=_push(path.spherical_window, adversarial, within),
    )
    return path, tf.zeros_like(adversarial)


def _walked(
    path: _Path, adversarial: tf.Tensor, nearer: tf.Tensor, checked: tf.Tensor
) -> tuple[_Path, tf.Tensor]:
    """Try proposals towards the source."""
    path = path._replace(
        phase=tf.where(checked, np.int64(_SPHERE), np.int64(_WALK)),
        tried=path.tried + AT_ONCE,
        full_window=_push(path.full_window, adversarial, checked[:, None] & path.on_sphere),
    )
    return path, adversarial & nearer


def _push(window: tf.Tensor, values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Push the values that count into the front of a window."""
    for value, counts in zip(tf.unstack(values, axis=1), tf.unstack(count, axis=1), strict=True):
        pushed = tf.concat([tf.cast(value, tf.float32)[:, None], window[:, :-1]], axis=1)
        window = tf.where(counts[:, None], pushed, window)
    return window
