"""Comparisons with a peer: crafting, costs and verdicts, and walks along the boundary."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from benchmarks.rows import Row, spread
from benchmarks.timing import best_batch, in_turns, warm_up

_TARGET = 2  # as a multiple of ours
# The step lengths adapt once in ten steps, so fewer proposals and more steps come nearer.
WALK = a2d.DBA(distance=1e-9, proposals=8)
MIN_STEPS = 16


def logits_model(model):
    """Make a model that ends in the logits, as peers require.

    Args:
        model: A `keras.Sequential` that ends in a dense layer with a softmax.

    Returns:
        A `keras.Model` with the same weights.
    """
    *body, last = model.layers
    linear = keras.layers.Dense(last.units)
    logits = keras.Sequential([keras.Input(model.input_shape[1:]), *body, linear])
    linear.set_weights(last.get_weights())
    return logits


def compared(what, theirs, ours, repeats, agreement):
    """Time a peer and ours in turns.

    Args:
        what: A description of the comparison.
        theirs: The peer's run, a function without arguments. It must have run before.
        ours: Our run, like `theirs`.
        repeats: The number of turns.
        agreement: A function that takes the last results of both, and returns a sentence on how
            far they agree.

    Returns:
        The `benchmarks.rows.Row`.
    """
    (theirs, ours), results = in_turns([theirs, ours], repeats)
    note = f"ours {np.median(ours):.2f} s; {agreement(*results)}"
    return Row(f"time over ours: {what}", spread(theirs / ours), at_least=_TARGET, note=note)


def steps_compared(what, step, subject, x, repeats):
    """Compare BIM_d's costs, and its verdicts, with a peer that is called step by step.

    Args:
        what: The name of the peer.
        step: A function that takes inputs and labels, and returns the inputs after one step, and
            whether the classifier's label has changed.
        subject: The `benchmarks.subjects.Subject`.
        x: The inputs.
        repeats: The number of turns.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    labels = subject.labels(x)
    size = best_batch(lambda x: step(x, labels[: len(x)]), x)
    for width in _widths(size):
        step(x[:width], labels[:width])  # compile
    guarded = subject.guarded()
    threshold, max_steps = int(guarded.detector.thresholds[0]), subject.bim.max_iterations

    def theirs(max_steps):
        parts = range(0, len(x), size)
        costs = [_costs(step, x[i : i + size], labels[i : i + size], max_steps) for i in parts]
        return np.concatenate(costs)

    def ours():
        return subject.costs(x)

    def agreement(theirs, ours):
        return f"batches of {size}; {costs_agree(theirs, ours)}"

    def verdicts_agree(theirs, ours):
        same = np.mean((theirs < threshold) == ours["is_adversarial"])
        return f"batches of {size}; {same:.0%} of the verdicts are equal"

    def judge(x):
        return guarded.predict(x, verbose=0)

    ours(), warm_up(judge, x)
    on = f"{len(x)} benign inputs of {subject.name}"
    what_costs = f"{what}, BIM_d costs, {on}"
    yield compared(what_costs, lambda: theirs(max_steps), ours, repeats, agreement)
    yield compared(
        f"{what}, BIM_d verdicts, {on}",
        lambda: theirs(threshold),
        lambda: judge(x),
        repeats,
        verdicts_agree,
    )


def costs_agree(theirs, ours):
    """Describe how far a peer's costs agree with ours.

    Args:
        theirs: The peer's costs, int64, (n,).
        ours: Our costs, int64, (n,).

    Returns:
        The sentence.

    Examples:
        >>> costs_agree(np.array([10, 100]), np.array([10, 101]))
        '50% of the costs are equal, 100% within a twentieth; mean 55.0, of ours 55.5'
    """
    near = np.mean(abs(theirs - ours) <= ours / 20)
    return (
        f"{np.mean(theirs == ours):.0%} of the costs are equal, {near:.0%} within a twentieth; "
        f"mean {theirs.mean():.1f}, of ours {ours.mean():.1f}"
    )


def crafting_compared(what, craft, subject, x, repeats):
    """Compare BIM-a with a peer's. Both take all steps, whether or not an input's label changes.

    Args:
        what: The name of the peer.
        craft: A function that takes the `a2d_keras.BIM`, and returns a function that takes a
            batch of inputs and labels, and returns the adversarial inputs.
        subject: The `benchmarks.subjects.Subject`.
        x: The inputs.
        repeats: The number of turns.

    Returns:
        The `benchmarks.rows.Row`.
    """
    attack = dataclasses.replace(subject.settings.attacks["BIM-a"], stop_at_success=False)
    craft, labels = craft(attack), subject.labels(x)
    size = best_batch(lambda x: craft(x, labels[: len(x)]), x)

    def theirs():
        parts = [slice(i, i + size) for i in range(0, len(x), size)]
        return np.concatenate([craft(x[part], labels[part]) for part in parts])

    def ours():
        return attack(subject.classifier, x, slots="auto").adversarial

    def agreement(theirs, ours):
        fooled = [np.mean(subject.labels(each) != labels) for each in (theirs, ours)]
        apart = abs(theirs - ours).mean()
        return (
            f"batches of {size}; fooled by theirs {fooled[0]:.1%}, by ours {fooled[1]:.1%}; pixels "
            f"{apart:.4f} apart in the mean"
        )

    ours()  # compile
    steps = f"{attack.max_iterations} steps of BIM"
    on = f"{len(x)} inputs of {subject.name}"
    return compared(f"{what}, {steps}, {on}", theirs, ours, repeats, agreement)


def away_from_noise(subject):
    """Choose the benign inputs that noise is not classified like: for the others it is no start.

    Args:
        subject: The `benchmarks.subjects.Subject`.

    Returns:
        The inputs.
    """
    noise = np.random.default_rng(0).uniform(size=(100, *subject.benign.shape[1:]))
    of_noise = np.bincount(subject.labels(noise.astype("float32"))).argmax()
    return subject.benign[subject.labels(subject.benign) != of_noise]


def walks_compared(what, walk, subject, count, repeats, attack=None):
    """Compare a decision-based attack with a peer's, with the steps of ours that come as near.

    Nearness is the median distance from the inputs, those of `away_from_noise`.

    Args:
        what: The name of the peer.
        walk: A function that takes a model that returns logits, inputs and labels, and returns
            the adversarial inputs.
        subject: The `benchmarks.subjects.Subject`.
        count: The number of inputs.
        repeats: The number of turns.
        attack: Ours. Defaults to `WALK`, the boundary attack.

    Returns:
        The `benchmarks.rows.Row`.
    """
    attack = attack or WALK
    x = away_from_noise(subject)[:count]
    labels = subject.labels(x)

    def distance(adversarial):
        turned = subject.labels(adversarial) != labels
        return np.median(np.mean((adversarial - x) ** 2, axis=(1, 2, 3))[turned])

    def ours(steps):
        return attack(subject.classifier, x, budget=steps, slots="auto")

    model = logits_model(subject.model)
    asked = _Asked(model)
    goal = distance(walk(asked, x, labels))
    steps = _fewest(lambda steps: distance(ours(steps).adversarial) <= goal, attack.max_iterations)

    def agreement(theirs, ours):
        adversarial = theirs, ours.adversarial
        fooled = [np.mean(subject.labels(each) != labels) for each in adversarial]
        apart = [distance(each) for each in adversarial]
        return (
            f"{steps} steps of ours; median mean squared distance {apart[0]:.4f}, of ours "
            f"{apart[1]:.4f}; queries an input {asked.inputs.numpy() / len(x):,.0f}, of ours "
            f"{ours.queries.mean():,.0f}; fooled {fooled[0]:.0%} and {fooled[1]:.0%}"
        )

    on = f"to equal distance, {len(x)} inputs of {subject.name}"
    run = functools.partial(walk, model, x, labels)
    return compared(f"{what}, {on}", run, lambda: ours(steps), repeats, agreement)


class _Asked:
    """A model that counts the inputs that it is asked about."""

    def __init__(self, model):
        self.model = model
        self.inputs = tf.Variable(0)  # a variable, since a peer may trace the call

    def __call__(self, x, **arguments):
        self.inputs.assign_add(tf.shape(x)[0])
        return self.model(x, **arguments)


def _fewest(enough, most):
    """Find how many steps are enough, to within an eighth: double the number, then bisect."""
    high = MIN_STEPS
    while high < most and not enough(high):
        high = min(2 * high, most)
    low = high // 2
    while high - low > high // 8:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _costs(step, x, labels, max_steps):
    """Count the steps until each input's label changes, and halve the batch when it can be halved.

    A peer may have to compile for each size of a batch, so there must be few sizes.
    """
    costs, rows = np.full(len(x), max_steps), np.arange(len(x))
    for taken in range(1, max_steps + 1):
        x, turned = step(x, labels[rows])
        costs[rows] = np.minimum(costs[rows], np.where(turned, taken, max_steps))
        live = costs[rows] == max_steps
        if not live.any():
            break
        if len(rows) > 1 and live.sum() <= len(rows) // 2:
            kept = np.argsort(~live, kind="stable")[: len(rows) // 2]
            x, rows = np.asarray(x)[kept], rows[kept]
    return costs


def _widths(size):
    while size:
        yield size
        size //= 2
