"""Which class a classifier predicts, of any kind: probabilities, logits, or a single unit."""

import numpy as np
import tensorflow as tf

from a2d_keras import Classifier

_BATCH = 512


def predicted(model, x):
    """Predict classes.

    Args:
        model: The classifier, a `keras.Model` or an `a2d_keras.Classifier`.
        x: Inputs, float32, (n, *input shape).

    Returns:
        The classes, int64, (n,).

    Examples:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
        >>> model.set_weights([np.array([[4.0], [0.0]]), np.array([-1.0])])
        >>> predicted(model, np.eye(2, dtype="float32"))
        array([1, 0])
    """
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    starts = range(0, len(x), _BATCH)
    batches = (tf.constant(x[start : start + _BATCH], "float32") for start in starts)
    found = [classifier.logits(batch).numpy().argmax(axis=-1) for batch in batches]
    return np.concatenate([np.empty(0, "int64"), *found])


def correctly_classified(model, x, y, limit):
    """Return the first inputs that the classifier gets right.

    Args:
        model: As for `predicted`.
        x: Inputs, float32, (n, *input shape).
        y: Their classes, int, (n,).
        limit: The largest number of inputs to return.

    Returns:
        The inputs, float32, (at most `limit`, *input shape).
    """
    return x[predicted(model, x) == y][:limit]
