"""The detectors that a comparison offers by name, and those that a user brings."""

import functools
import importlib
import inspect

from a2d_keras import Attack, Statistic
from baselines.base import Baseline
from baselines.compare.attacks import DEFAULT_DEFENCES, defences
from baselines.mutation_testing import operators
from baselines.registry import BASELINES
from baselines.scored import GUARDS, Guard, Scored

TRAINED = ("KD+BU", "Dissector")  # baselines that need training inputs
MUTANTS = 100
_SLOW = ("mutation testing",)  # not for large inputs, unless named
_MANY_UNITS, _RATES = 1000, {False: 0.05, True: 0.005}  # as for the authors' two classifiers


def offered(sizes):
    """List the names of all detectors.

    Args:
        sizes: The `baselines.compare.sizes.Sizes`.

    Returns:
        A list of names.
    """
    return [*defences(sizes), *GUARDS, *BASELINES]


def defaults(sizes, *, trained):
    """List the names of the detectors that run unless others are named.

    Args:
        sizes: The `baselines.compare.sizes.Sizes`.
        trained: Whether there are training inputs.

    Returns:
        A list of names.
    """
    slow = _SLOW if sizes.large else ()
    names = [*DEFAULT_DEFENCES, *GUARDS, *BASELINES]
    return [name for name in names if name not in slow and (trained or name not in TRAINED)]


def detectors(chosen, classifier, sizes, benign):
    """Make detectors.

    Args:
        chosen: The detectors, each a name of `offered`, "module:Class", a class or an object with
            `fit` and `score`, a `baselines.base.Baseline` class, an `a2d_keras.Attack` that
            detects by its cost, or an `a2d_keras.Statistic`.
        classifier: The `a2d_keras.Classifier`.
        sizes: The `baselines.compare.sizes.Sizes`.
        benign: Benign inputs for those that learn from no others.

    Returns:
        A dict, as `baselines.comparison.compare` takes it.

    Raises:
        ValueError: If a name or a detector is none of these, or two have one name.
    """
    known, found = defences(sizes), {}
    for each in chosen:
        if isinstance(each, str) and ":" in each:
            each = _imported(each)
        name = each if isinstance(each, str) else _name(each)
        if name in found:
            raise ValueError(f"Detectors must have different names. Received: {name!r} twice")
        if name in known and isinstance(each, str):
            found[name] = known[name]
        elif isinstance(each, Attack):
            found[name] = each
        else:
            found[name] = _maker(each, classifier, benign, offered(sizes))
    return found


def _maker(each, classifier, benign, names):
    """Return a function from the model and the data to what scores."""
    if isinstance(each, str) and each in BASELINES:
        options = {}
        if each == "mutation testing":
            units = sum(layer.count for layer in operators.units(classifier.model))
            options = {"mutants": MUTANTS, "rate": _RATES[units >= _MANY_UNITS]}
        return functools.partial(BASELINES[each].from_data, **options)
    if isinstance(each, str) and each in GUARDS:
        return lambda *_: Scored(Guard(classifier, GUARDS[each]), benign)
    if isinstance(each, Statistic):
        return lambda *_: Scored(Guard(classifier, [each]), benign)
    if inspect.isclass(each) and issubclass(each, Baseline):
        return each.from_data
    if not isinstance(each, str) and all(
        callable(getattr(each, n, None)) for n in ("fit", "score")
    ):
        return lambda model, _: Scored(each(model) if inspect.isclass(each) else each, benign)
    raise ValueError(
        f"A detector must be one of {', '.join(names)}, or have `fit` and `score`, as module:Class "
        f"in a name. Received: {each!r}"
    )


def _imported(name):
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"A detector of your own must be named module:Class, and Python must find it. "
            f"Received: {name}: {error}"
        ) from error


def _name(each):
    if isinstance(each, Attack):
        return f"{type(each).__name__}_d"
    return getattr(each, "name", None) or getattr(each, "__name__", type(each).__name__)
