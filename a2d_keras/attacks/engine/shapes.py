"""Shapes of the contents of slots: one value, or one image, per slot."""

import tensorflow as tf


def flat(x: tf.Tensor) -> tf.Tensor:
    """Lay out every slot's values in one row.

    Args:
        x: Values, (slots, ...).

    Returns:
        The same, (slots, values).
    """
    return tf.reshape(x, [tf.shape(x)[0], -1])


def column(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Shape one value for each slot so that it broadcasts against something larger.

    Args:
        values: Values, (slots,).
        like: The tensor to broadcast against, (slots, ...).

    Returns:
        The same values, (slots, 1, ..., 1).
    """
    return tf.reshape(values, [-1] + [1] * (len(like.shape) - 1))
