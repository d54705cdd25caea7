"""`Baseline`: the base class of the detectors that A2D is compared with."""

import abc
import inspect
import io
import pathlib
from typing import Any, ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from a2d_keras.classifier.layerwise import describe
from a2d_keras.files import replace_atomically
from a2d_keras.validation import require_whole
from baselines.digests import digest

_FOLDS = 5
_LEARNED = "learned_"  # begins the names of what `fit` learned, in a file


class Baseline(abc.ABC):
    """A detector that learns to tell adversarial inputs from benign and noisy ones.

    It turns an input into a few numbers, its characteristics, and learns from those. A subclass
    computes the characteristics, learns from them, scores them, and defines what else a file must
    hold. To enter the comparisons it needs a line in `baselines/registry.py`.

    Args:
        model: The classifier whose inputs are judged.
        seed: Seed of all random numbers, not negative. Defaults to 0.

    Attributes:
        name: The name in tables and registries. Each subclass has its own.
        supervised: Whether it learns from adversarial inputs. True by default.
        passes: Forward passes that a verdict takes beside the prediction. 0 by default.

    Raises:
        ValueError: If a parameter is out of range.
    """

    name: ClassVar[str]
    supervised: ClassVar[bool] = True
    passes: int = 0

    def __init__(self, model, *, seed=0):
        require_whole("seed", seed, minimum=0)
        self.model = model
        self.seed = seed
        self._learned = None

    @classmethod
    def from_data(cls, model, data, **options):
        """Make the detector for a comparison.

        Args:
            model: The classifier.
            data: The `models.record.Dataset` that it was trained on.
            **options: Parameters of the class.

        Returns:
            The detector, not fitted. By default it needs nothing of the data.
        """
        return cls(model, **options)

    @staticmethod
    def paper_split(count):
        """Return which test inputs the authors fit and score on.

        Args:
            count: The number of test inputs.

        Returns:
            Two masks, bool, (count,). By default both select all inputs.
        """
        return np.ones(count, bool), np.ones(count, bool)

    @abc.abstractmethod
    def parameters(self) -> dict[str, Any]:
        """List what the characteristics depend on, except the model and the inputs.

        Returns:
            A dict that JSON can hold.
        """

    @abc.abstractmethod
    def characteristics(self, x, *, benign=None):
        """Compute the characteristics of inputs.

        Args:
            x: Inputs, float32, (n, *input shape).
            benign: The benign inputs that the inputs are, or were made from, in the same order.
                None if they are unknown.

        Returns:
            The characteristics, float64, (n, number of them).
        """

    def fit(self, benign, noisy, adversarial):
        """Learn from benign inputs and their noisy and adversarial counterparts.

        Args:
            benign: Benign inputs, float32, (n, *input shape).
            noisy: The benign inputs with noise, in the same order. They are negatives too.
            adversarial: Adversarial inputs made from the benign ones, in the same order. To leave
                some out, call `fit_characteristics` on the rows of the others.

        Returns:
            This detector.

        Raises:
            ValueError: If there are too few inputs.
        """
        kinds = (benign, noisy, adversarial)
        return self.fit_characteristics(*(self.characteristics(x, benign=benign) for x in kinds))

    def fit_characteristics(self, benign, noisy, adversarial):
        """Learn from characteristics that were computed before.

        Args:
            benign: Characteristics of benign inputs, float64, (n, number of them).
            noisy: Those of noisy inputs, (any number, number of them).
            adversarial: Those of adversarial inputs, (any number, number of them).

        Returns:
            This detector.

        Raises:
            ValueError: If there are fewer than five of a kind.
        """
        counts = [len(benign), len(noisy), len(adversarial)]
        if min(counts) < _FOLDS:
            raise ValueError(
                f"There must be at least {_FOLDS} inputs of each kind. Received: {counts}"
            )
        self._learned = self.learn(benign, noisy, adversarial)
        return self

    def score(self, x):
        """Score inputs whose origin is unknown.

        Args:
            x: Inputs, float32, (n, *input shape).

        Returns:
            The scores, float64, (n,); higher is more adversarial.

        Raises:
            ValueError: If `fit` was not called.
        """
        self._require_fitted(self._learned)
        return self.score_characteristics(self.characteristics(x))

    def score_characteristics(self, characteristics):
        """Score characteristics.

        Args:
            characteristics: Characteristics, as `characteristics` returns them.

        Returns:
            The scores, float64, (n,); higher is more adversarial.

        Raises:
            ValueError: If neither `fit` nor `fit_characteristics` was called.
        """
        self._require_fitted(self._learned)
        return self.decide(characteristics, self._learned)

    @abc.abstractmethod
    def learn(self, benign, noisy, adversarial) -> dict[str, np.ndarray]:
        """Learn from characteristics.

        Args:
            benign: As for `fit_characteristics`. There are enough of each kind.
            noisy: As for `fit_characteristics`.
            adversarial: As for `fit_characteristics`.

        Returns:
            What was learned, a dict of arrays.
        """

    @abc.abstractmethod
    def decide(self, characteristics, learned) -> np.ndarray:
        """Score characteristics by what was learned.

        Args:
            characteristics: Characteristics, as `characteristics` returns them.
            learned: What `learn` returned.

        Returns:
            The scores, float64, (n,).
        """

    def save(self, path):
        """Save what `fit` has learned, without the model.

        Args:
            path: The file. An old one is replaced once the new one is complete.

        Raises:
            ValueError: If `fit` was not called.
        """
        self._require_fitted(self._learned)
        learned = {f"{_LEARNED}{name}": array for name, array in self._learned.items()}
        arrays = {**self.state(), **learned, "baseline": self.name}
        arrays["weights"] = digest(*self.model.get_weights())
        with replace_atomically(pathlib.Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays, checksum=_checksum(arrays))

    @classmethod
    def load(cls, path, model):
        """Load a detector that `save` wrote.

        Args:
            path: The file.
            model: The classifier that the detector was fitted on.

        Returns:
            The detector.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file is damaged, was saved by another baseline, or was fitted on a
                model with other weights.
        """
        path = pathlib.Path(path)
        arrays = _read(path)
        if arrays["baseline"] != cls.name:
            raise ValueError(
                f"{path.name} was not saved by {cls.name}; load it with the class that saved it. "
                f"Received: a file of {arrays['baseline']}"
            )
        if arrays["weights"] != digest(*model.get_weights()):
            raise ValueError(
                f"{path.name} was fitted on a model with other weights; load it with that model, "
                f"or fit again. Received: {describe(model)}"
            )
        detector = cls.restore(model, arrays)
        learned = {name: array for name, array in arrays.items() if name.startswith(_LEARNED)}
        detector._learned = {name.removeprefix(_LEARNED): a for name, a in learned.items()}
        return detector

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """List what `restore` needs, apart from what `learn` returned.

        Returns:
            A dict of arrays and numbers.

        Raises:
            ValueError: If the state depends on `fit`, and `fit` was not called.
        """

    @classmethod
    @abc.abstractmethod
    def restore(cls, model, state) -> "Baseline":
        """Make the detector again.

        Args:
            model: The classifier.
            state: A dict of arrays that includes what `state` returned.

        Returns:
            The detector, without what it has learned.
        """

    @staticmethod
    def _require_fitted(known):
        if known is None:
            raise ValueError("Call `fit` first. Received: a detector that is not fitted")


class RegressionBaseline(Baseline):
    """A baseline whose detector is a logistic regression on scaled characteristics.

    Attributes:
        scaler: The class of the scaler, from scikit-learn. Each subclass has its own.
    """

    scaler: ClassVar[type]

    def learn(self, benign, noisy, adversarial):
        """Fit the scaler and the regression. Cross-validation chooses the regularization."""
        scaler, kinds = self.scaler(), (benign, noisy, adversarial)
        scaled = scaler.fit_transform(np.concatenate(kinds))
        labels = np.repeat([False, False, True], [len(kind) for kind in kinds])
        options = {"max_iter": 10_000, "scoring": "accuracy"}
        if "use_legacy_attributes" in inspect.signature(LogisticRegressionCV).parameters:
            options |= {"l1_ratios": (0.0,), "use_legacy_attributes": False}  # scikit-learn 1.8
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=self.seed)
        with threadpool_limits(1):  # for so few numbers, threads only wait for each other
            regression = LogisticRegressionCV(cv=folds, **options).fit(scaled, labels)
        fitted = {name: v for name, v in vars(scaler).items() if isinstance(v, np.ndarray)}
        return {
            **fitted,
            "coefficients": regression.coef_[0],
            "intercept": regression.intercept_[0],
        }

    def decide(self, characteristics, learned):
        """Compute the regression's decision function."""
        scaler = self.scaler()
        vars(scaler).update(learned)
        # scikit-learn refuses an empty array.
        scaled = scaler.transform(characteristics) if len(characteristics) else characteristics
        return scaled @ learned["coefficients"] + learned["intercept"]


def graph_ends(model):
    """List a model's inputs and outputs.

    Args:
        model: A `keras.Model`.

    Returns:
        Two lists of `KerasTensor`s, empty if the model has no graph of layers.
    """
    if not model.built:  # Keras 3.3 would raise its own error
        return [], []
    return tuple(list(getattr(model, name, None) or ()) for name in ("inputs", "outputs"))


def _read(path):
    contents = path.read_bytes()
    try:
        with np.load(io.BytesIO(contents), allow_pickle=False) as file:
            arrays = dict(file)
        intact = arrays.pop("checksum") == _checksum(arrays)
    except Exception:  # NumPy and zipfile raise errors of many kinds for damaged files
        intact = False
    if not intact:
        raise ValueError(
            f"{path.name} is damaged, or was not written by `save`; fit and save again. "
            f"Received: {len(contents)} bytes"
        )
    return arrays


def _checksum(arrays):
    return digest(*(part for name in sorted(arrays) for part in (name, arrays[name])))
