"""The largest possible value, estimated from maxima: a reverse Weibull distribution, fitted."""

import warnings

import numpy as np
from scipy.optimize import fmin
from scipy.stats import kstest, weibull_min

SHAPES = (0.1, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0)  # to start from, as the authors do
_MIN_P_VALUE = 0.001  # of the Kolmogorov-Smirnov test


def largest_possible(maxima):
    """Estimate the end of the distribution that maxima come from.

    The maximum of many draws from a bounded distribution follows a reverse Weibull law, whose
    location is the bound (Weng et al. 2018, Section 4.1). So SciPy's `weibull_min` is fitted to
    the negated maxima, shifted by the largest and divided by their range. Nelder-Mead starts from
    seven shapes, since it may lead nowhere, and the fit with the best p-value of the
    Kolmogorov-Smirnov test counts.

    A fit does not count if its p-value is below 0.001, or if its shape grew beyond 100, the
    largest initial one. Maxima with such a shape show no end, as those of a normal distribution
    would, and the location runs away, to millions of times the largest maximum. The authors do
    not refuse such fits. They fit to 500 maxima, where fewer run away than with 50.

    Args:
        maxima: The maxima, float, (n,).

    Returns:
        The estimate, a float; the largest maximum if all are equal, or if no fit counts.

    Examples:
        >>> draws = np.random.default_rng(0).random((100, 50, 3)).sum(axis=-1)
        >>> maxima = draws.max(axis=1)
        >>> bool(maxima.max() < largest_possible(maxima) < 3.1)  # 3 is possible
        True
        >>> largest_possible([3.0, 3.0])
        3.0
    """
    maxima = np.asarray(maxima, "float64")
    largest, width = maxima.max(), np.ptp(maxima)
    if width == 0:
        return float(largest)
    return float(largest - width * _location((largest - maxima) / width))


def _location(values):
    """Fit to values from 0 to 1, and return the location; 0 if no fit counts."""
    best, location = _MIN_P_VALUE, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # starts that lead nowhere overflow
        for initial in SHAPES:
            fit = weibull_min.fit(values, initial, optimizer=fmin)
            p_value = kstest(values, "weibull_min", args=fit).pvalue
            if fit[0] <= SHAPES[-1] and p_value >= best:
                best, location = p_value, fit[1]
    return min(location, 0.0)
