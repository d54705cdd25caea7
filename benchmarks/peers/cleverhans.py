"""CleverHans 4: `basic_iterative_method`, called step by step with a success check."""

import numpy as np
import tensorflow as tf
from cleverhans.tf2.attacks.basic_iterative_method import basic_iterative_method

from benchmarks.peers.common import logits_model, steps_compared


def rows(bench):
    """Compare CleverHans with ours on the first data set.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    subject = bench.first_subject()
    x = subject.benign[: bench.sizes.peers]
    step = _step(logits_model(subject.model), subject.bim)
    yield from steps_compared("CleverHans, step by step", step, subject, x, bench.sizes.repeats)


def _step(model, attack):
    @tf.function(reduce_retracing=True)
    def predict(x):
        return tf.argmax(model(x, training=False), axis=-1)

    def step(x, labels):
        x = basic_iterative_method(
            model,
            tf.convert_to_tensor(x),
            attack.eps,
            attack.eps_iter,
            1,
            np.inf,
            clip_min=0.0,
            clip_max=1.0,
            y=tf.convert_to_tensor(labels),
            sanity_checks=False,
        )
        return x, predict(x).numpy() != labels

    return step
