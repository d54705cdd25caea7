"""The reference: one image at a time in a Python loop, a prediction and a gradient per step."""

import numpy as np
import tensorflow as tf

from benchmarks.peers.common import costs_agree, logits_model
from benchmarks.rows import Row, spread
from benchmarks.timing import in_turns, warm_up


def rows(bench):
    """Compare the reference with ours. It must count the full cost for every verdict.

    It is timed on a few inputs. It has no batches, so its time is proportional to its steps, and
    is extrapolated to the steps that ours counts on more inputs.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    for subject in bench.subjects():
        x = subject.benign[: bench.sizes.peers]
        yield from _compared(subject, x, bench.sizes.single, bench.sizes.repeats)


def one_at_a_time(model, attack):
    """Make the reference of BIM.

    Args:
        model: The classifier, a `keras.Model` that returns logits.
        attack: The `a2d_keras.BIM` with its parameters.

    Returns:
        A function that takes inputs and returns their costs, int64, (n,).
    """

    @tf.function
    def predict(x):
        return tf.argmax(model(x, training=False), axis=-1)

    @tf.function
    def gradient(x, label):
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = model(x, training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)
        return tape.gradient(loss, x)

    def cost(image):
        x = source = tf.constant(image[None])
        label = predict(x)
        for step in range(1, attack.max_iterations + 1):
            x = x + attack.eps_iter * tf.sign(gradient(x, label))
            x = tf.clip_by_value(x, source - attack.eps, source + attack.eps)
            x = tf.clip_by_value(x, 0.0, 1.0)
            if predict(x) != label:
                return step
        return attack.max_iterations

    return lambda images: np.array([cost(image) for image in images])


def _compared(subject, x, single, repeats):
    way = one_at_a_time(logits_model(subject.model), subject.bim)
    guarded = subject.guarded()

    def costs():
        return subject.costs(x)

    def judge(x):
        return guarded.predict(x, verbose=0)

    way(x[:1]), costs(), warm_up(judge, x)
    (one, many, judged), (theirs, ours, _) = in_turns(
        [lambda: way(x[:single]), costs, lambda: judge(x)], repeats
    )
    extrapolated = one / theirs.sum() * ours.sum()
    note = (
        f"{len(x)} benign inputs; the reference on {single} of them, at "
        f"{1e3 * np.median(one) / theirs.sum():.2f} ms a step; {costs_agree(theirs, ours[:single])}"
    )
    what = f"time over ours: one image at a time, {subject.name}, BIM_d"
    yield Row(f"{what} costs", spread(extrapolated / many), at_least=7, note=note)
    yield Row(f"{what} verdicts", spread(extrapolated / judged), at_least=15, note=note)
