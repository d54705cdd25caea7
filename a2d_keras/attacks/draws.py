"""Random numbers that belong to an input: the same whatever it is batched with."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_ALGORITHM = "philox"  # the same numbers on every device
_MULTIPLIERS = (2021, 7)  # the seed of the hash function itself


def keys(inputs: tf.Tensor, seed: int) -> tf.Tensor:
    """Give every input a key of its own: a hash of its float32 bits, beside the seed.

    The hash is a sum of the bits of each pixel times a random 64-bit number, modulo 2**64.

    Args:
        inputs: Inputs, float32, (slots, *input_shape).
        seed: The attack's seed.

    Returns:
        The keys, int64, (slots, 2).
    """
    bits = tf.reshape(tf.bitcast(inputs, tf.int32), [tf.shape(inputs)[0], -1])
    multipliers = tf.random.stateless_uniform(
        tf.shape(bits)[1:], _MULTIPLIERS, None, None, tf.int64, _ALGORITHM
    )
    hashes = tf.reduce_sum(tf.cast(bits, tf.int64) * multipliers, axis=-1)
    return tf.stack([hashes, tf.fill(tf.shape(hashes), tf.constant(seed, tf.int64))], axis=-1)


def normal(keys: tf.Tensor, draws: tf.Tensor, shape: Sequence[Any]) -> tf.Tensor:
    """Draw standard normal numbers for every slot.

    Args:
        keys: The keys, int64, (slots, 2).
        draws: Which draw of its input each slot is at, int64, (slots,).
        shape: Shape of one slot's numbers.

    Returns:
        The numbers, float32, (slots, *shape).
    """
    return _draw(tf.random.stateless_normal, keys, draws, shape)


def uniform(keys: tf.Tensor, draws: tf.Tensor, shape: Sequence[Any]) -> tf.Tensor:
    """Draw numbers from [0, 1) for every slot; see `normal`."""
    return _draw(tf.random.stateless_uniform, keys, draws, shape)


def _draw(sample: Any, keys: tf.Tensor, draws: tf.Tensor, shape: Sequence[Any]) -> tf.Tensor:
    seeds = keys + tf.stack([draws, tf.zeros_like(draws)], axis=-1)
    return tf.map_fn(
        lambda seed: sample(shape, seed, alg=_ALGORITHM), seeds, fn_output_signature=tf.float32
    )
