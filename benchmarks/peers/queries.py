"""How near an attack comes with its queries: a curve is a list of pairs of queries and distance."""

import numpy as np
import tensorflow as tf


class Journal:
    """A model that notes how near the images that it is asked about are to their origin.

    Args:
        model: A function of images that returns logits.
        image: The image under attack, (height, width, channels).
        label: Its class.
    """

    def __init__(self, model, image, label):
        self._model, self._image, self._label = model, image, label
        self._distances = []

    def __call__(self, x, **arguments):
        """Run the model.

        Args:
            x: Images, (n, height, width, channels).
            **arguments: Other arguments of the model.

        Returns:
            Its logits.
        """
        logits = self._model(x, **arguments)
        tf.numpy_function(self._note, [x, logits], [], stateful=True)  # a peer may trace the call
        return logits

    def _note(self, x, logits):
        turned = np.argmax(logits, axis=-1) != self._label
        self._distances.append(np.where(turned, norms(x - self._image), np.inf))

    def nearest(self, queries):
        """Find the nearest misclassified image among the first ones.

        Args:
            queries: How many images, a list of whole numbers. All, if there were fewer.

        Returns:
            The L2 distances, (len(queries),); infinite if none was misclassified.
        """
        nearest = np.minimum.accumulate(np.concatenate(self._distances))
        return nearest[np.minimum(queries, len(nearest)) - 1]


def norms(change):
    """Return the L2 norm of each change, (n,).

    Args:
        change: Changes of images, (n, height, width, channels).
    """
    return np.linalg.norm(np.reshape(change, (len(change), -1)), axis=1)


def queries_to(curve, goal):
    """Interpolate, on logarithmic axes, the queries after which a curve has fallen to a distance.

    Args:
        curve: The curve.
        goal: The distance.

    Returns:
        The queries, or None if it does not fall so far.

    Examples:
        >>> round(queries_to([(100, 4.0), (400, 1.0)], 2.0))
        200
    """
    queries, distances = _logarithms(curve)
    if distances[-1] > np.log(goal):
        return None
    return float(np.exp(np.interp(-np.log(goal), -distances, queries)))


def distance_after(curve, queries):
    """Interpolate, on logarithmic axes, the distance after some queries.

    Args:
        curve: The curve.
        queries: The number of queries.

    Returns:
        The distance.

    Examples:
        >>> round(distance_after([(100, 4.0), (400, 1.0)], 200), 6)
        2.0
    """
    at, distances = _logarithms(curve)
    return float(np.exp(np.interp(np.log(queries), at, distances)))


def _logarithms(curve):
    return np.log(np.array(curve, "float64").T)
