"""What a baseline learns: a logistic regression, and files that hold it."""

import inspect
import io

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold

from a2d_keras.files import replace_atomically
from baselines.digests import digest
from baselines.layerwise import describe

_FOLDS = 5


def fit_regression(scaler, seed, benign, noisy, adversarial):
    """Fit the scaling and the logistic regression that both baselines end in.

    Args:
        scaler: A scaler of scikit-learn's, which is fitted too.
        seed: Seed of the regression's cross-validation.
        benign: Characteristics of benign inputs, float64, (n, characteristics).
        noisy: Those of noisy inputs, negative examples as well.
        adversarial: Those of adversarial inputs.

    Returns:
        The coefficients, float64, (characteristics,), and the intercept, float64.

    Raises:
        ValueError: If there are fewer than five of a kind.
    """
    counts = [len(benign), len(noisy), len(adversarial)]
    if min(counts) < _FOLDS:
        raise ValueError(f"There must be at least {_FOLDS} inputs of each kind. Received: {counts}")
    scaled = scaler.fit_transform(np.concatenate([benign, noisy, adversarial]))
    labels = np.repeat([False, False, True], counts)
    options = {"max_iter": 10_000, "scoring": "accuracy"}
    if "use_legacy_attributes" in inspect.signature(LogisticRegressionCV).parameters:
        options |= {"l1_ratios": (0.0,), "use_legacy_attributes": False}  # scikit-learn 1.8 asks
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    regression = LogisticRegressionCV(cv=folds, **options).fit(scaled, labels)
    return regression.coef_[0], regression.intercept_[0]


def write(path, model, arrays):
    """Write what was learned of a model; the file is replaced only when its successor is whole.

    Args:
        path: The file, a `pathlib.Path`.
        model: The model, of which only a digest of the weights is kept.
        arrays: What was learned, a dict.
    """
    arrays = arrays | {"weights": digest(*model.get_weights())}
    with replace_atomically(path) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, **arrays, checksum=digest(*arrays.values()))


def read(path, model, names):
    """Read what was learned of a model.

    Args:
        path: The file, a `pathlib.Path`.
        model: The model.
        names: What the file holds, in the order in which it was written.

    Returns:
        A dict of arrays.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file is damaged, or was written of a model with other weights.
    """
    contents = path.read_bytes()
    try:
        with np.load(io.BytesIO(contents), allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*names, "weights")}
            whole = file["checksum"] == digest(*arrays.values())
    except Exception:  # whatever NumPy and zipfile stumble over
        whole = False
    if not whole:
        raise ValueError(
            f"{path.name} is damaged, or was not written by `save`; fit and save again. "
            f"Received: {len(contents)} bytes"
        )
    if arrays["weights"] != digest(*model.get_weights()):
        raise ValueError(
            f"{path.name} was fitted on a model with other weights; load it with that model, "
            f"or fit again. Received: {describe(model)}"
        )
    return arrays
