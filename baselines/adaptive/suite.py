"""The parts of the suite: the red team, Figure 7 and Table 4."""

from a2d_keras import Classifier
from baselines.adaptive import tables, writing
from baselines.adaptive.attackers import break_guards
from baselines.adaptive.settings import FIGURE_7, TABLE_4
from baselines.adaptive.sweep import BIM_D, clever_scores, sweep
from baselines.clever import paper as clever_paper
from baselines.comparison.measurements import Work
from models import registry, zoo


class Suite:
    """Everything on one data set. Finished results are kept.

    Args:
        name: The data set.
        data: The `models.record.Dataset`.
        scene: The `baselines.adaptive.settings.Scene`.
        sizes: The `baselines.adaptive.settings.Sizes`.
        out: The folder of the report, a `pathlib.Path`.
        checkpoints: The `baselines.comparison.checkpoints.Checkpoints`.
    """

    def __init__(self, name, data, *, scene, sizes, out, checkpoints):
        self._name, self._data, self._scene, self._sizes = name, data, scene, sizes
        self._out, self._checkpoints = out, checkpoints
        self._defence = sizes.bim_d(registry.find(name).settings.defences[BIM_D])

    def red_team(self):
        """Attack the guards of every classifier, the robust one first.

        Returns:
            The tables `right_or_flagged` and `red_team`.
        """
        broken = {
            name: break_guards(
                self._work(name), self._scene, self._data, self._sizes, defence=self._defence
            )
            for name in reversed(self._scene.attacked)
        }
        return {
            "right_or_flagged": tables.right_or_flagged(broken),
            "red_team": tables.red_team(broken),
        }

    def figure_7(self):
        """Sweep the confidence of C&W, and draw its examples.

        Returns:
            The tables `figure_7` and `distances`.
        """
        pairs, swept = self._sweep(self._scene.swept, FIGURE_7)
        writing.draw(self._out, pairs, swept)
        farthest = self._scene.farthest
        return {
            "figure_7": tables.figure_7(swept, farthest),
            "distances": tables.distances(swept, farthest),
        }

    def table_4(self):
        """Measure how robust examples become with confidence, on the plain classifier.

        Returns:
            The table `table_4`.
        """
        _, swept = self._sweep(self._scene.attacked[0], TABLE_4)
        work = self._work(self._scene.attacked[0])
        scores = [clever_scores(work, each, self._sizes) for each in swept]
        published = clever_paper.TABLE_4.get(self._name, {})
        return {"table_4": tables.table_4(swept, scores, published)}

    def _sweep(self, classifier, confidences):
        return sweep(
            self._work(classifier),
            self._scene,
            self._data,
            self._sizes,
            defence=self._defence,
            confidences=confidences,
        )

    def _work(self, classifier):
        model = zoo.load_or_train(classifier, self._data)
        return Work(Classifier(model), self._checkpoints)


PARTS = {"redteam": Suite.red_team, "figure_7": Suite.figure_7, "table_4": Suite.table_4}
