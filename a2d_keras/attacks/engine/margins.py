"""The margin: how far a class leads, and the direction in which its lead grows. Graph code."""

import tensorflow as tf


def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Compute the lead of a class over the largest other logit.

    Args:
        logits: Logits, float32, (n, classes); a masked class may have -inf.
        labels: The classes, int64, (n,).

    Returns:
        The lead, float32, (n,); finite, and negative if another class leads.
    """
    return tf.reduce_min(margin_to_each(logits, labels), axis=-1)


def margin_to_each(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Compute the lead of a class over every other class.

    Args:
        logits: Logits, float32, (n, classes); a masked class may have -inf.
        labels: The classes, int64, (n,).

    Returns:
        The leads, float32, (n, classes); finite, and the largest float at the class itself.
    """
    own, largest = _mask(labels, logits), logits.dtype.max
    values = tf.reduce_sum(tf.where(own, logits, 0.0), axis=-1, keepdims=True)
    found = tf.clip_by_value(values - _without(own, logits), -largest, largest)
    return tf.where(own, largest, found)


def lead(logits: tf.Tensor, labels: tf.Tensor, place: int = 0) -> tf.Tensor:
    """Compute the direction, at the logits, in which a class gains a lead over another.

    Args:
        logits: Logits, float32, (n, classes).
        labels: The classes, int64, (n,).
        place: The place of the other class among all others, from the largest logit down.
            Defaults to 0, the direction of the margin.

    Returns:
        1 at the class, -1 at the other class, and 0 elsewhere; float32, (n, classes).
    """
    others = _without(_mask(labels, logits), logits)
    rivals = tf.math.top_k(others, place + 1).indices[:, place] if place else tf.argmax(others, -1)
    classes = tf.shape(logits)[-1]
    return tf.one_hot(labels, classes) - tf.one_hot(rivals, classes)


def _mask(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.one_hot(labels, tf.shape(logits)[-1], on_value=True, off_value=False)


def _without(own: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.where(own, logits.dtype.min, tf.maximum(logits, logits.dtype.min))
