"""Random numbers that belong to an input: the same in any batch.

TensorFlow's stateless generators take one seed per call, and return other numbers under XLA. So
these come from SplitMix64 (Steele, Lea, Flood 2014), in integer arithmetic, which is exact
everywhere.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_GOLDEN = -7046029254386353131  # 2**64 divided by the golden ratio, as int64
_BELOW_ONE = 1 - 2.0**-24
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685  # multipliers of SplitMix64


def keys(inputs: tf.Tensor, seed: Any) -> tf.Tensor:
    """Return a key for every input: a hash of its float32 bits and the seed.

    Args:
        inputs: Inputs, float32, (slots, *input_shape).
        seed: The attack's seed, a whole number or an int64 tensor.

    Returns:
        The keys, int64, (slots,).
    """
    bits = tf.reshape(tf.bitcast(inputs, tf.int32), [tf.shape(inputs)[0], -1])
    weights = _mix(tf.range(1, tf.shape(bits, tf.int64)[1] + 1) * _GOLDEN)
    hashes = tf.reduce_sum(tf.cast(bits, tf.int64) * weights, axis=1)
    return _mix(hashes + _mix(tf.cast(seed, tf.int64) + _GOLDEN))


def uniform(keys: tf.Tensor, counters: tf.Tensor, shape: Sequence[Any]) -> tf.Tensor:
    """Draw uniform numbers from (0, 1) for every slot.

    Args:
        keys: The keys, int64, (slots,).
        counters: The numbers of the draws, different for each draw of a slot, int64, (slots,).
        shape: Shape of one slot's numbers.

    Returns:
        The numbers, float32, (slots, *shape): odd multiples of 2**-25, rounded to float32.
    """
    count = tf.reduce_prod(tf.cast(shape, tf.int64))
    streams = _mix(keys + counters * _GOLDEN)
    words = _mix(streams[:, None] + tf.range(1, count + 1) * _GOLDEN)
    numbers = (tf.cast(_shift(words, 40), tf.float32) + 0.5) * 2.0**-24
    # The largest would round to 1, and its normal number would be infinite.
    return tf.reshape(tf.minimum(numbers, _BELOW_ONE), [-1, *shape])


def normal(keys: tf.Tensor, counters: tf.Tensor, shape: Sequence[Any]) -> tf.Tensor:
    """Draw standard normal numbers for every slot; see `uniform`."""
    return tf.math.ndtri(uniform(keys, counters, shape))


def _mix(words: tf.Tensor) -> tf.Tensor:
    """Mix 64 bits so that each depends on all."""
    words = tf.bitwise.bitwise_xor(words, _shift(words, 30)) * _FIRST
    words = tf.bitwise.bitwise_xor(words, _shift(words, 27)) * _SECOND
    return tf.bitwise.bitwise_xor(words, _shift(words, 31))


def _shift(words: tf.Tensor, by: int) -> tf.Tensor:
    unsigned = tf.bitcast(words, tf.uint64)
    shifted = tf.bitwise.right_shift(unsigned, tf.constant(by, tf.uint64))
    return tf.bitcast(shifted, tf.int64)
