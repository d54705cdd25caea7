"""Model mutation testing (the paper's BL3).

Wang, Dong, Sun, Wang and Zhang, ICSE 2019, "Adversarial Sample Detection for Deep Neural Network
through Model Mutation Testing". An adversarial input lies near a decision boundary, so small random
damage to the classifier's weights changes its label more often than that of a benign input.
"""

import numbers

import numpy as np

from a2d_keras.validation import require_choice, require_whole
from baselines.base import Baseline
from baselines.digests import digest
from baselines.mutation_testing.mutants import Mutants
from baselines.mutation_testing.operators import OPERATORS
from baselines.mutation_testing.sequential import benign_rate, sequential_test

HELD_OUT = 1000  # inputs that the mutants of a comparison are filtered on
_PARAMETERS = ("operator", "rate", "mutants", "seed", "held_out")


class MutationTesting(Baseline):
    """Model mutation testing (Wang et al. 2019): how often damaged copies change the label.

    The characteristics of an input are the votes of the mutants: 1 where a mutant's label differs
    from the classifier's. The score is their mean, the label change rate. `fit` learns the bound
    of that rate on benign inputs, which only `detect` needs, and nothing from other inputs.

    Mutants come from one of four operators: "NAI" (neuron activation inverse), "GF" (Gaussian
    fuzzing), "WS" (weight shuffling) and "NS" (neuron switch); see `operators.py`. Those whose
    accuracy on held-out inputs falls below nine tenths of the classifier's are drawn again. This
    happens once, when the first input is judged.

    Args:
        model: The classifier, a built `keras.Model` with a convolution or a dense layer, as
            `a2d_keras.Classifier` takes it.
        x: Held-out inputs that mutants are filtered on, float32, (n, *input shape).
        y: Their classes, int, (n,).
        operator: The operator. Defaults to "NAI".
        rate: The share of units (of parameters for "GF") that a mutation changes, in (0, 1]. The
            authors use 0.05 for MNIST and 0.005 for CIFAR-10. Defaults to 0.05.
        mutants: The number of mutants, and so of passes that an input takes. Defaults to 500.
        seed: Seed of the mutants, not negative. Defaults to 0.

    Attributes:
        passes: The number of mutants.

    Raises:
        ValueError: If the model has nothing to mutate, `y` does not fit `x`, or a parameter is out
            of range. When inputs are judged: if too few mutants are accurate.

    Examples:
        >>> import keras
        >>> keras.utils.set_random_seed(0)
        >>> stack = [keras.Input((2,)), keras.layers.Dense(20, "relu"), keras.layers.Dense(2)]
        >>> model = keras.Sequential(stack)
        >>> x = np.random.default_rng(0).normal(size=(50, 2)).astype("float32")
        >>> y = model.predict(x, verbose=0).argmax(-1)
        >>> detector = MutationTesting(model, x, y, mutants=20).fit(x, x, x)
        >>> rates = detector.score(x)
        >>> bool(0 <= rates.min() < rates.max() <= 1)
        True
    """

    name = "mutation testing"
    supervised = False

    def __init__(self, model, x, y, *, operator="NAI", rate=0.05, mutants=500, seed=0):
        require_choice("operator", operator, tuple(OPERATORS))
        _require_share(rate)
        x, y = np.asarray(x, "float32"), np.asarray(y)
        if not 0 < len(x) == len(y) or y.shape != (len(x),):
            raise ValueError(
                "`y` must hold the class of each held-out input. "
                f"Received: shape {y.shape} for {len(x)} inputs"
            )
        self._set_up(model, operator, rate, mutants, seed)
        self._held_out, self.held_out, self._numbers = (x, y), digest(x, y), None

    @classmethod
    def from_data(cls, model, data, **options):
        """Make the detector with mutants that are filtered on the last 1,000 test inputs.

        Args:
            model: The classifier.
            data: The `models.record.Dataset` that it was trained on. The authors filter on all
                test inputs, which takes ten times as long.
            **options: Any of `operator`, `rate`, `mutants` and `seed`.

        Returns:
            The detector.
        """
        return cls(model, data.x_test[-HELD_OUT:], data.y_test[-HELD_OUT:], **options)

    def parameters(self):
        """List the operator, the rate, the number of mutants, the seed, and a digest of `x, y`."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def characteristics(self, x, *, benign=None):
        """Ask all mutants whether the label changes.

        Args:
            x: Inputs, float32, (n, *input shape).
            benign: Ignored: an input is judged without its origin.

        Returns:
            The votes, 1.0 where a mutant's label differs from the classifier's, float64,
            (n, mutants).
        """
        x = np.asarray(x, "float32")
        return (self.labels(x) != self._mutants.original_labels(x)).T.astype("float64")

    def labels(self, x):
        """Classify inputs with all mutants.

        Args:
            x: Inputs, float32, (n, *input shape).

        Returns:
            The labels, int32, (mutants, n).
        """
        return self._mutants.labels(np.asarray(x, "float32"), numbers=self._chosen())

    def detect(self, x, *, extend_scale=1.0, relax_scale=0.1, as_coded=False):
        """Decide by the sequential test, with the threshold that `fit` learned.

        Args:
            x: Inputs, float32, (n, *input shape).
            extend_scale: Factor of the threshold. Defaults to 1.
            relax_scale: As for `baselines.mutation_testing.sequential.sequential_test`.
            as_coded: As for `sequential_test`.

        Returns:
            The `baselines.mutation_testing.sequential.Verdicts`.

        Raises:
            ValueError: If `fit` was not called, or no label of the benign inputs ever changed.
        """
        self._require_fitted(self._learned)
        changed = self.characteristics(x) == 1
        threshold = extend_scale * float(self._learned["benign_rate"])
        return sequential_test(changed, threshold, relax_scale=relax_scale, as_coded=as_coded)

    def learn(self, benign, noisy, adversarial):
        """Learn the bound of the label change rate of benign inputs."""
        return {"benign_rate": np.array(benign_rate(benign.mean(axis=1)))}

    def decide(self, characteristics, learned):
        """Compute label change rates."""
        return characteristics.mean(axis=1)

    def state(self):
        """List the numbers of the mutants, and the parameters."""
        return {"numbers": self._chosen(), **self.parameters()}

    @classmethod
    def restore(cls, model, state):
        """Make the detector with the mutants that were chosen; see `Baseline.restore`."""
        detector = cls.__new__(cls)
        *parameters, held_out = (state[name].item() for name in _PARAMETERS)
        detector._set_up(model, *parameters)
        detector._held_out, detector.held_out = None, held_out
        detector._numbers = state["numbers"]
        return detector

    def _set_up(self, model, operator, rate, mutants, seed):
        super().__init__(model, seed=seed)
        require_whole("mutants", mutants)
        self.operator, self.rate, self.mutants = operator, float(rate), mutants
        self.passes = mutants
        self._mutants = Mutants(model, operator=operator, rate=rate, seed=seed)

    def _chosen(self):
        if self._numbers is None:
            self._numbers = self._mutants.choose(*self._held_out, self.mutants)
        return self._numbers


def _require_share(rate):
    if not isinstance(rate, numbers.Real) or not 0 < float(rate) <= 1:
        raise ValueError(f"`rate` must be a share in (0, 1]. Received: {rate}")
