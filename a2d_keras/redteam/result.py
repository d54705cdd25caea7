"""`RedTeamResult`: what got through a guard, as a table, curves and inputs."""

import dataclasses
import os
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from a2d_keras.redteam.adversary import Adversary, Crafted
from a2d_keras.redteam.checks import Check
from a2d_keras.redteam.defence import STRICT, Defence, Verdicts

ANY = "any of these"  # the row of the worst case of each input
_RATE = 0.05
_ROUNDING = 1e-6  # of a distance, in float32


@dataclasses.dataclass(frozen=True)
class RedTeamResult:
    """What the red team has found.

    Attributes:
        defence: The `Defence`.
        x: The benign inputs that the classifier gets right, float32, (n, *input_shape).
        y: Their classes, int64, (n,).
        eps: The largest change of a value that counts, as a fraction of the input range.
        benign: The honest `Verdicts` on `x`.
        adversaries: A dict from the name of each `Adversary` to itself.
        crafted: A dict from the name of each adversary to what it has `Crafted`.
        about: Facts about the run: the version of the set, inputs left out, adversaries left out.
        checks: The `Check`s that the attacks are no weaker than they look.

    Examples:
        >>> import keras
        >>> import a2d_keras as a2d
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(120, 4)).astype("float32")
        >>> guarded = a2d.guard(model)
        >>> guarded.adapt(x[:100], verbose=0)
        >>> y = model.predict(x[100:], verbose=0).argmax(axis=-1)
        >>> result = a2d.redteam(guarded, x[100:], y, attacks=["Noise"], verbose=0)
        >>> result.succeeds("noise").shape
        (20,)
    """

    defence: Defence
    x: np.ndarray
    y: np.ndarray
    eps: float
    benign: Verdicts
    adversaries: dict[str, Adversary]
    crafted: dict[str, Crafted]
    about: dict[str, Any]
    checks: list[Check]

    def succeeds(self, name: str, false_positive_rate: float | None = None) -> np.ndarray:
        """Return which inputs an adversary got through.

        Args:
            name: The adversary's name, or `"any of these"`.
            false_positive_rate: The rate whose threshold counts. Defaults to the guard's own
                verdict.

        Returns:
            Whether each input is misclassified, not flagged, and within `eps` unless the adversary
            has no limit, bool, (n,). In the row of all, `eps` limits everything.
        """
        if name == ANY:
            each = [self.succeeds(n, false_positive_rate) & self.near(n) for n in self.crafted]
            return np.asarray(np.any([np.zeros(len(self.y), bool), *each], axis=0))
        verdicts = self.crafted[name].verdicts
        flagged = verdicts.flagged
        if false_positive_rate is not None:
            flagged = self.defence.flags(verdicts.score, false_positive_rate)
        return np.asarray(self.fools(name) & ~flagged)

    def fools(self, name: str) -> np.ndarray:
        """Return which inputs an adversary has misclassified, flagged or not.

        Args:
            name: The adversary's name, or `"any of these"`.

        Returns:
            As for `succeeds`, without the guard.
        """
        if name == ANY:
            each = [self.fools(name) & self.near(name) for name in self.crafted]
            return np.asarray(np.any([np.zeros(len(self.y), bool), *each], axis=0))
        wrong: np.ndarray = self.crafted[name].verdicts.labels != self.y
        return wrong & self.near(name) if self.adversaries[name].limited else wrong

    def near(self, name: str) -> np.ndarray:
        """Return which results of an adversary are within `eps`.

        Args:
            name: The adversary's name.

        Returns:
            Whether each is, bool, (n,).
        """
        return within(self.distances(name)[1], self.eps)

    def distances(self, name: str) -> np.ndarray:
        """Return how far an adversary has moved each input.

        Args:
            name: The adversary's name.

        Returns:
            The L2 and the L-inf distances, as fractions of the input range, float64, (2, n).
        """
        return self.defence.distances(self.x, self.crafted[name].x)

    def roc(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the ROC curve of the detector, benign inputs against an adversary's that fool.

        Args:
            name: The adversary's name.

        Returns:
            The rates of benign and of adversarial inputs that are flagged; empty if none fools.
        """
        fooling = self.crafted[name].verdicts.score[self.fools(name)]
        if not len(fooling):
            return np.zeros(0), np.zeros(0)
        false, true, _ = roc_curve(*self._labelled(fooling))
        return false, true

    def rows(self) -> list[dict[str, Any]]:
        """Return the table.

        Returns:
            A dict for each adversary, and one for all together: `attack`; `fooled`, the share that
            the classifier alone gets wrong; `success`, the share that the guard does not flag
            either; `SR@5` and `SR@50`, the same with the thresholds at 5 % and 50 % false
            positives; `limit`, the largest distance that counts; `AUROC`; `L2` and `Linf`, median
            distances of what succeeds, or else of what fools; and `queries` and `gradients`, the
            mean passes of an input. What does not apply is None, as is a rate that needs more
            benign inputs.
        """
        return [self._row(name) for name in self.crafted] + [self._shares(ANY)]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `results.json`, and `report.html`, a page that needs no other file.

        Args:
            folder: The folder, created if missing.

        Raises:
            ValueError: If `a2d-keras[redteam]` is not installed, or the folder cannot be written
                to.
        """
        from a2d_keras.redteam import report  # which draws with packages that few need

        report.save(self, folder)

    def _row(self, name: str) -> dict[str, Any]:
        fools, counted = self.fools(name), self.succeeds(name)
        l2, linf = self.distances(name)
        counted = counted if counted.any() else fools
        middle = [float(np.median(d[counted])) if counted.any() else None for d in (l2, linf)]
        scores = self.crafted[name].verdicts.score[fools]
        return {
            **self._shares(name),
            "limit": self.eps if self.adversaries[name].limited else None,
            "AUROC": float(roc_auc_score(*self._labelled(scores))) if fools.any() else None,
            "L2": middle[0],
            "Linf": middle[1],
            "queries": float(self.crafted[name].queries.mean()),
            "gradients": float(self.crafted[name].gradient_evaluations.mean()),
        }

    def _shares(self, name: str) -> dict[str, Any]:
        rates = {"SR@5": _RATE, "SR@50": STRICT}
        return {
            "attack": name,
            "fooled": float(self.fools(name).mean()),
            "success": float(self.succeeds(name).mean()),
            **{
                column: float(self.succeeds(name, rate).mean())
                if self.defence.has_threshold(rate)
                else None
                for column, rate in rates.items()
            },
        }

    def _labelled(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat([0, 1], [len(self.benign.score), len(scores)])
        return labels, np.concatenate([self.benign.score, scores])

    def __str__(self) -> str:
        """Lay the table and the checks out as text."""
        rows = self.rows()
        cells = [[_cell(row.get(column)) for column in rows[0]] for row in rows]
        lines = _aligned([list(rows[0]), *cells])
        return "\n".join([*lines, "", *map(str, self.checks)]).rstrip()


def within(distances: np.ndarray, eps: float) -> np.ndarray:
    """Return which distances are within `eps`, but for rounding.

    Args:
        distances: L-inf distances, as fractions of the input range, (n,).
        eps: The largest of them that counts.

    Returns:
        Whether each is, bool, (n,).

    Examples:
        >>> within(np.array([0.1, 0.2]), 0.1)
        array([ True, False])
    """
    near: np.ndarray = distances <= eps * (1 + _ROUNDING) + _ROUNDING
    return near


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3f}"
    return str(value)


def _aligned(table: list[list[str]]) -> list[str]:
    """Make each column as wide as it must be, so that the table fits a page."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        " ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in table
    ]
