"""`compare`: the comparison on any Keras classifier, with sizes that suit it."""

import dataclasses

from a2d_keras import Attack, Classifier
from baselines import comparison
from baselines.compare import estimate
from baselines.compare.attacks import attacks as make_attacks
from baselines.compare.attacks import default_attacks
from baselines.compare.data import Data, check
from baselines.compare.detectors import TRAINED, defaults
from baselines.compare.detectors import detectors as make_detectors
from baselines.compare.sizes import default_limit, sizes
from baselines.comparison import Options
from baselines.comparison.choices import MIN_INPUTS
from baselines.comparison.labels import correctly_classified
from baselines.comparison.measuring import judged
from baselines.comparison.protocols import NOISY

_FITTING = 1000  # benign inputs for detectors that learn from no others


def compare(model, data, *, attacks=None, detectors=None, out=None, options=None):
    """Compare detectors on adversarial examples of a classifier.

    The size of attacks follows from the distance of benign inputs to the classifier's boundary.
    What was chosen, and what was left out and why, is printed, and stands in the report.

    Args:
        model: The trained classifier, a `keras.Model` with inputs in [0, 1], or an
            `a2d_keras.Classifier`, which can have other bounds.
        data: A dict of the arrays `x_test` and `y_test`, and optionally `x_train`, `y_train` and
            `class_names`; inputs (n, *input shape), classes whole numbers (n,). Or a
            `models.record.Dataset`.
        attacks: A list of attacks that craft, each a name of `baselines.compare.attacks.attacks`
            or an `a2d_keras.Attack`. Defaults to all names, without the slow ones for inputs of
            64 × 64 × 3 values or more.
        detectors: A list of detectors, each a name, "module:Class", or an object; see
            `baselines.compare.detectors.detectors`. A class of your own is called with the model,
            and has `fit(x)`, which gets benign inputs, and `score(x)`, higher being more
            adversarial. Defaults to those that suit.
        out: The folder of the report and of finished results, with which the same call continues
            after a stop. Defaults to None, which writes nothing.
        options: The `baselines.comparison.Options`. Defaults to a limit of 200 test inputs, 100
            for large ones.

    Returns:
        A `pandas.DataFrame` with a row for each attack and detector, held out: `attack`,
        `detector`, `auroc`, its 95 % interval `low` to `high`, `negatives` and `positives`.

    Raises:
        ValueError: If the data does not fit the classifier, a name is unknown, the classifier gets
            too few inputs right, or no attack fools it often enough.

    Examples:
        >>> import keras, numpy as np
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(200, 4)).astype("float32")
        >>> data = {"x_test": x, "y_test": model.predict(x, verbose=0).argmax(-1)}
        >>> table = compare(model, data, attacks=["FGSM"], detectors=["default"])
        ε = ...
        >>> list(table["detector"])
        ['default']
    """
    chosen = {"attacks": attacks, "detectors": detectors, "out": out, "options": options}
    table = run(model, data, **chosen).tables["auroc_held_out"]
    return table[~table["detector"].str.endswith(NOISY)].reset_index(drop=True)


def run(model, data, *, attacks=None, detectors=None, out=None, options=None):
    """Compare like `compare`, and return everything.

    Args:
        model: As for `compare`.
        data: As for `compare`, or a `baselines.compare.data.Data`.
        attacks: As for `compare`.
        detectors: As for `compare`.
        out: As for `compare`.
        options: As for `compare`.

    Returns:
        The `baselines.comparison.Comparison`.

    Raises:
        ValueError: As for `compare`.
    """
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    arrays, class_names = data if isinstance(data, Data) else check(data, classifier)
    trained = len(arrays.x_train) > 0
    options = options or Options(limit=default_limit(arrays.x_test))
    correct = judged(classifier, arrays, None)
    if trained:
        benign = correct[: options.limit]
        fitting = correctly_classified(classifier, arrays.x_train, arrays.y_train, _FITTING)
    else:
        benign, fitting = _shared(correct, options.limit)
    size = sizes(classifier, benign)
    chosen = _attacks(attacks, size)
    names = defaults(size, trained=trained) if detectors is None else detectors
    made = make_detectors(names, classifier, size, fitting)
    said = [size.text(), estimate.text(classifier, benign, chosen, made, training=trained)]
    if not trained and detectors is None:
        said.append(f"{', '.join(TRAINED)}: left out: they need training inputs")
    print("\n".join(said), flush=True)
    about = {"chosen": said[0], "estimate": said[1], **dict(options.about)}
    if class_names:
        about["classes"] = ", ".join(class_names)
    return comparison.compare(
        classifier,
        arrays,
        attacks=chosen,
        detectors=made,
        out=out,
        options=dataclasses.replace(options, limit=len(benign), about=about),
    )


def _shared(correct, limit):
    """Share inputs between those to judge, at most half if possible, and those to learn from."""
    count = min(limit, max(len(correct) // 2, MIN_INPUTS))
    return correct[:count], correct[count : count + _FITTING]


def _attacks(chosen, size):
    """Find attacks by name, and name those that are given."""
    known, found = make_attacks(size), {}
    for each in default_attacks(size) if chosen is None else chosen:
        if isinstance(each, Attack):
            found[type(each).__name__] = each
        elif each in known:
            found[each] = known[each]
        else:
            raise ValueError(f"An attack must be one of {', '.join(known)}. Received: {each!r}")
    return found
