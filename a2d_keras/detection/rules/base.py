"""`Rule`: turns the statistics of inputs into verdicts inside a TensorFlow graph.

It sees numbers, never models, and learns into weights. A `CostRule` judges the costs of attacks,
which stop as soon as the verdict is settled.
"""

import abc
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.validation import require_rate

if TYPE_CHECKING:
    from typing_extensions import Self


class Column(NamedTuple):
    """What a rule knows of one statistic.

    Attributes:
        tail: Which of its values are suspicious: `"low"`, `"high"` or `"both"`. Defaults to
            `"low"`.
        max_iterations: The largest cost of an attack. None for another statistic, the default.
    """

    tail: str = "low"
    max_iterations: int | None = None


class Rule(keras.layers.Layer, abc.ABC):
    """The base class of rules, which turn statistics into verdicts.

    The constructor stores parameters, `prepare` makes the weights, and `learn` sets them.

    Attributes:
        word: Its name in `rule=`.
        needs_adversarial: Whether it learns from adversarial inputs as well as benign ones.
    """

    word: ClassVar[str]
    needs_adversarial: ClassVar[bool] = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"name": self.word, **kwargs, "dtype": "float32", "autocast": False})

    def prepare(self, columns: Sequence[Column], false_positive_rate: float) -> None:
        """Make the weights.

        Args:
            columns: A `Column` for each statistic.
            false_positive_rate: The rate of benign inputs that may be flagged.

        Raises:
            ValueError: If the rate does not lie between 0 and 1, or the rule cannot judge such
                statistics.
        """
        require_rate(false_positive_rate)
        self.columns = tuple(columns)
        self.false_positive_rate = false_positive_rate
        self._prepare()
        self.built = True

    def fresh(self) -> "Self":
        """Make a rule with the same parameters that has learned nothing."""
        rule: Self = type(self).from_config(self.get_config())
        return rule

    def require_kinds(self, adversarial: bool) -> None:
        """Refuse to learn from the wrong kinds of inputs, before they are measured.

        Args:
            adversarial: Whether adversarial inputs are given as well as benign ones.

        Raises:
            ValueError: If adversarial inputs are missing or unwanted.
        """
        if adversarial != self.needs_adversarial:
            wanted = "benign and adversarial" if self.needs_adversarial else "only benign"
            given = "benign and adversarial" if adversarial else "only benign"
            raise ValueError(
                f"{type(self).__name__} learns from {wanted} inputs. Received: {given} inputs"
            )

    def require_enough(self, benign: int) -> None:
        """Refuse too few benign inputs for the false positive rate, before they are measured.

        Args:
            benign: The number of benign inputs.

        Raises:
            ValueError: If they are too few. By default none are.
        """

    def promise(self, false_positive_rate: float) -> None:
        """Promise another false positive rate, if the rule can without learning anew.

        Args:
            false_positive_rate: The rate of benign inputs that may be flagged.

        Raises:
            ValueError: If it cannot, which is the default.
        """
        raise ValueError(
            f'The rule "{self.word}" learns for one false positive rate: make another guard, or '
            f'use `rule="fisher"`. Received: {false_positive_rate}'
        )

    @property
    @abc.abstractmethod
    def thresholds(self) -> np.ndarray:
        """Where the verdict turns, one number or one for each statistic."""

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Make the weights; `columns` and `false_positive_rate` are set."""

    def _state(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        return self.add_weight(
            name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False
        )


class CostRule(Rule):
    """The base class of rules that judge the costs of attacks.

    A rule knows how many steps settle the vote of each attack (its budget), and which order of
    attacks takes the fewest passes. For an input that not all attacks have seen, it knows whether
    the others could still change the outcome.

    Attributes:
        budgets: The number of steps that settles each attack's vote, an int64 weight, (attacks,).
        order: The attacks in the order in which they run, an int64 weight, (attacks,).
        benign_costs: The number of benign inputs with each cost from 0 up, an int64 weight,
            (attacks, largest cost + 1).
        has_thresholds: Whether a budget is the smallest cost that counts as benign.

    Examples:
        >>> from a2d_keras import ZScore
        >>> issubclass(ZScore, CostRule)
        True
    """

    has_thresholds: ClassVar[bool] = False

    @property
    def thresholds(self) -> np.ndarray:
        """The `budgets`, as an array."""
        return np.asarray(keras.ops.convert_to_numpy(self.budgets))

    def _prepare(self) -> None:
        limits = (column.max_iterations for column in self.columns)
        self.max_iterations = tuple(limit for limit in limits if limit is not None)
        if len(self.max_iterations) < len(self.columns):
            raise ValueError(
                f'The rule "{self.word}" judges the costs of attacks only; use `rule="fisher"` for '
                f"other statistics. Received: {self.columns}"
            )
        attacks, costs = len(self.max_iterations), max(self.max_iterations) + 1
        self.budgets = self._state("budgets", (attacks,), "int64")
        self.order = self._state("order", (attacks,), "int64")
        self.benign_costs = self._state("benign_costs", (attacks, costs), "int64")
        self._prepare_for(attacks, costs)

    def learn(
        self,
        benign: np.ndarray,
        adversarial: np.ndarray | None = None,
        passes: np.ndarray | None = None,
    ) -> None:
        """Learn from fingerprints, and count the inputs with each benign cost.

        Args:
            benign: Costs of benign inputs, int64, (n, attacks).
            adversarial: Costs of adversarial inputs, like `benign`. Defaults to None.
            passes: The passes through the classifier that each benign cost took, like `benign`.
                Defaults to one per step.
        """
        self._learn(benign, adversarial)
        self.order.assign(self._cheapest_order(benign, benign if passes is None else passes))
        largest = max(self.max_iterations)
        counts = [np.bincount(costs, minlength=largest + 1) for costs in benign.T]
        self.benign_costs.assign(np.stack(counts))

    def _cheapest_order(self, costs: np.ndarray, passes: np.ndarray) -> tuple[int, ...]:
        """Find the order of attacks that settles these verdicts in the fewest passes."""
        seen_costs = np.minimum(costs, self.thresholds)
        passes = passes * seen_costs // costs
        attacks = range(costs.shape[1])

        @functools.cache
        def cheapest(seen: frozenset[int]) -> tuple[int, tuple[int, ...]]:
            """Find the best order after some attacks have run, and the passes that it takes."""
            known = np.where([attack in seen for attack in attacks], seen_costs, 0)
            going = self.undecided(tf.constant(known, tf.int64)).numpy()
            ways = []
            for attack in set(attacks) - seen:
                price, order = cheapest(seen | {attack})
                ways.append((price + int(passes[going, attack].sum()), (attack, *order)))
            return min(ways, default=(0, ()))

        return cheapest(frozenset())[1]

    @abc.abstractmethod
    def _prepare_for(self, attacks: int, costs: int) -> None:
        """Make other weights, for the given numbers of attacks and of costs from 0 up."""

    @abc.abstractmethod
    def _learn(self, benign: np.ndarray, adversarial: np.ndarray | None) -> None:
        """Learn from fingerprints; see `learn`."""

    @abc.abstractmethod
    def undecided(self, costs: tf.Tensor) -> tf.Tensor:
        """Return which verdicts an attack that has not started could still change.

        Args:
            costs: Costs, int64, (n, attacks); 0 for an attack that has not started.

        Returns:
            Whether to go on, bool, (n,).
        """

    @abc.abstractmethod
    def call(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the verdicts.

        Args:
            costs: Costs, int64, (n, attacks); 0 for an attack that was not needed.

        Returns:
            Whether each input is adversarial, bool, (n,), and its score, float32, (n,). Higher
            scores are more adversarial.
        """
