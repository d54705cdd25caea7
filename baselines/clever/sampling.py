"""Random points of a ball, as the two published implementations of CLEVER draw them."""

import numpy as np


def ball(generator, count, size, norm):
    """Draw points uniformly from a unit ball round zero.

    Args:
        generator: The `numpy.random.Generator`.
        count: The number of points.
        size: The number of dimensions.
        norm: The norm of the ball: `"1"`, `"2"` or `"inf"`.

    Returns:
        The points, float32, (count, size).

    Examples:
        >>> points = ball(np.random.default_rng(0), 1000, 3, norm="1")
        >>> bool(abs(points).sum(axis=1).max() <= 1)
        True
    """
    if norm == "inf":
        return generator.uniform(-1, 1, (count, size)).astype("float32")
    if norm == "1":  # coordinates of a Laplace distribution have directions uniform on the sphere
        points = generator.laplace(size=(count, size))
    else:
        points = generator.standard_normal((count, size))
    lengths = np.linalg.norm(points, ord=int(norm), axis=1, keepdims=True)
    radii = generator.random((count, 1)) ** (1 / size)
    return (points * radii / lengths).astype("float32")


def shrunken_ball(generator, count, size, norm):
    """Draw points from a unit ball as the authors of CLEVER do, most of them far inside.

    In many dimensions nearly all of a ball lies close to its surface. So the authors multiply
    each point by another uniform number. In the norm `"inf"` they do not.

    Args:
        generator: As for `ball`.
        count: As for `ball`.
        size: As for `ball`.
        norm: As for `ball`.

    Returns:
        The points, float32, (count, size).
    """
    points = ball(generator, count, size, norm)
    if norm == "inf":
        return points
    return points * generator.random((count, 1), "float32")
