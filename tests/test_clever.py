"""CLEVER: the score, against closed forms and ART, and the suite on a few digits."""

import dataclasses
import types

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from scipy.stats import weibull_min

from a2d_keras import BIM, JSMA, CarliniWagner, Classifier
from baselines.clever import paper, tables, weibull
from baselines.clever.__main__ import main
from baselines.clever.measure import Clever, CleverOptions
from baselines.clever.sampling import ball, shrunken_ball
from baselines.clever.weibull import largest_possible
from models.registry import RECORDS

pytestmark = pytest.mark.checkout

DUAL = {"1": np.inf, "2": 2, "inf": 1}
FEW = {"samples": 4, "maxima": 5}


@pytest.fixture(scope="module")
def smooth():
    """A network without kinks, so that a fit to its gradients is a matter of statistics alone."""
    keras.utils.set_random_seed(3)
    stack = [layers.Dense(16, "tanh"), layers.Dense(4, "softmax")]
    return keras.Sequential([keras.Input((5,)), *stack])


class TestScore:
    @pytest.mark.parametrize("norm", DUAL)
    @pytest.mark.parametrize("sampling", ["fresh", "pool"])
    def test_is_the_distance_to_the_boundary_of_a_linear_classifier(self, norm, sampling):
        dense = layers.Dense(4, "softmax")
        model = keras.Sequential([keras.Input((3, 2)), layers.Flatten(), dense])
        x = np.random.default_rng(0).random((3, 3, 2), "float32")
        options = CleverOptions(norm=norm, sampling=sampling, **FEW)
        found = Clever(Classifier(model), options=options)(x).scores
        kernel, bias = (weights.numpy() for weights in dense.weights)
        logits = x.reshape(3, -1) @ kernel + bias
        for row, values in zip(found, logits, strict=True):
            first, *others = np.argsort(-values)
            expected = [
                (values[first] - values[other])
                / np.linalg.norm(kernel[:, first] - kernel[:, other], ord=DUAL[norm])
                for other in others
            ]
            np.testing.assert_allclose(row, expected, rtol=1e-4)

    @pytest.mark.parametrize(
        "norm", ["2", *(pytest.param(n, marks=pytest.mark.slow) for n in DUAL if n != "2")]
    )
    @pytest.mark.parametrize("logits", [True, False], ids=["logits", "probabilities"])
    def test_measures_gradients_of_the_model(self, smooth, norm, logits):
        """In a tiny ball all points are the input, and its gradient is the limit."""
        x = np.random.default_rng(0).random((2, 5), "float32")
        name = "logits" if logits else "probabilities"
        options = CleverOptions(outputs=name, norm=norm, radius=1e-6, **FEW)
        found = Clever(Classifier(smooth), options=options)(x)
        inputs = tf.constant(x)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            values = smooth(inputs)
            values = tf.math.log(values) if logits else values  # logits up to a constant
            columns = tf.unstack(values, axis=1)
        gradients = np.stack([tape.gradient(column, inputs) for column in columns], axis=1)
        for row, value, gradient in zip(range(2), values.numpy(), gradients, strict=True):
            first, *others = np.argsort(-value)
            np.testing.assert_allclose(found.leads[row], value[first] - value[others], rtol=1e-4)
            lengths = np.linalg.norm(gradient[first] - gradient[others], ord=DUAL[norm], axis=1)
            np.testing.assert_allclose(found.limits[row], lengths, rtol=1e-3)

    @pytest.mark.slow
    def test_belongs_to_the_input_and_not_to_its_batch(self, smooth):
        x, classifier = np.random.default_rng(0).random((3, 5), "float32"), Classifier(smooth)
        clever = Clever(classifier, options=CleverOptions(**FEW))
        together = clever(x)
        alone = [clever(x[i : i + 1]).maxima[0] for i in range(3)]
        np.testing.assert_array_equal(together.maxima, alone)
        other = Clever(classifier, options=CleverOptions(seed=1, **FEW))(x[:1])
        assert (other.maxima != together.maxima[:1]).all()

    def test_looks_at_no_point_outside_the_bounds(self):
        class Cliff(layers.Layer):
            def call(self, x):
                return x + 1000 * keras.ops.relu(x - 1) - 1000 * keras.ops.relu(-x)

        model = keras.Sequential([keras.Input((3,)), Cliff(), layers.Softmax()])
        found = Clever(Classifier(model))(np.array([[0.9, 0.5, 0.1]]))
        np.testing.assert_allclose(found.limits, np.sqrt(2), rtol=1e-5)

    def test_is_capped_only_if_told(self):
        stack = [layers.Dense(2, kernel_initializer="zeros", bias_initializer="ones")]
        model = keras.Sequential([keras.Input((3,)), *stack])
        stack[0].bias.assign([1.0, 0.0])
        classifier, x = Classifier(model, from_logits=True), np.zeros((1, 3))
        assert Clever(classifier)(x).scores == np.inf  # no gradient leads to the other class
        options = CleverOptions(radius=2.5, capped=True)
        assert Clever(classifier, options=options)(x).scores == 2.5

    @pytest.mark.slow
    def test_a_pool_is_drawn_from_with_replacement(self, smooth):
        x, classifier = np.full((1, 5), 0.5), Classifier(smooth)
        fresh, pool = (
            Clever(classifier, options=CleverOptions(sampling=each, samples=4, maxima=30))
            for each in ("fresh", "pool")
        )
        assert len(np.unique(fresh(x).maxima[0, :, 0])) == 30
        assert len(np.unique(pool(x).maxima[0, :, 0])) < 30

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("outputs", "labels"),
            ("norm", 2),
            ("radius", 0),
            ("samples", 0),
            ("maxima", 1),
            ("sampling", "grid"),
            ("seed", -1),
        ],
    )
    def test_refuses_options_out_of_range(self, option, value):
        with pytest.raises(ValueError, match=f"`{option}` must be .* Received: {value!r}"):
            CleverOptions(**{option: value})


class TestBall:
    @pytest.mark.parametrize("norm", DUAL)
    def test_is_filled_uniformly(self, norm):
        points = ball(np.random.default_rng(0), 20_000, 3, norm)
        lengths = np.linalg.norm(points, ord=float(norm), axis=1)
        assert lengths.max() <= 1 + 1e-6
        for radius in (0.3, 0.6, 0.9):
            assert np.mean(lengths < radius) == pytest.approx(radius**3, abs=0.015)
        assert abs(points.mean(axis=0)).max() < 0.02

    @pytest.mark.parametrize("norm", ["1", "2"])
    def test_shrinks_so_that_half_lies_within_half(self, norm):
        points = shrunken_ball(np.random.default_rng(0), 20_000, 100, norm)
        lengths = np.linalg.norm(points, ord=int(norm), axis=1)
        assert np.mean(lengths < 0.5) == pytest.approx(0.5, abs=0.02)

    def test_of_the_largest_coordinate_does_not_shrink(self):
        same = [draw(np.random.default_rng(0), 10, 5, "inf") for draw in (ball, shrunken_ball)]
        np.testing.assert_array_equal(*same)


class TestFit:
    @pytest.mark.parametrize("shape", [2.0, 5.0])
    def test_finds_the_bound_of_a_reverse_weibull_distribution(self, shape):
        maxima = -weibull_min.rvs(shape, loc=-7, scale=2, size=2000, random_state=0)
        assert maxima.max() < 6.99
        assert largest_possible(maxima) == pytest.approx(7, abs=0.15)

    @pytest.mark.parametrize("factor", [1e-6, 1e6])
    def test_moves_and_scales_with_the_maxima(self, factor):
        maxima = -weibull_min.rvs(4, size=50, random_state=0)
        expected = factor * (largest_possible(maxima) + 3)
        assert largest_possible(factor * (maxima + 3)) == pytest.approx(expected, rel=1e-6)

    def test_takes_the_largest_maximum_where_nothing_fits(self):
        two = np.repeat([1.0, 2.0], 50)
        assert largest_possible(two) == 2
        assert largest_possible([1.5, 1.5, 1.5]) == 1.5

    def test_refuses_a_bound_that_runs_away(self):
        maxima = np.random.default_rng(0).gumbel(size=50)  # of a distribution without bound
        shape, location, _ = weibull_min.fit(maxima.max() - maxima, 10)
        assert shape > 1e6
        assert location < -1e6
        assert largest_possible(maxima) == maxima.max()


@pytest.mark.slow
def test_the_fit_is_arts_on_the_same_maxima(smooth, monkeypatch):
    pytest.importorskip("art.metrics", reason="ART is not installed: a2d-keras[benchmarks]")
    from art.estimators.classification import TensorFlowV2Classifier
    from art.metrics import clever_t, metrics

    class Estimator(TensorFlowV2Classifier):
        def class_gradient(self, x, label=None, **kwargs):
            return super().class_gradient(x, label=int(label), **kwargs)  # NumPy's is refused

    def recorded(negated, *args, **kwargs):
        fit = fitted(negated, *args, **kwargs)
        fits.append((-negated, -fit[1]))
        return fit

    fits, fitted = [], weibull_min.fit
    monkeypatch.setattr(metrics, "weibull_min", types.SimpleNamespace(fit=recorded))
    loss = keras.losses.SparseCategoricalCrossentropy()
    estimator = Estimator(
        model=smooth, nb_classes=4, input_shape=(5,), loss_object=loss, clip_values=(0.0, 1.0)
    )
    x = np.full(5, 0.4, "float32")
    options = CleverOptions(
        outputs="probabilities", radius=0.2, samples=30, maxima=100, sampling="pool", capped=True
    )
    ours = Clever(Classifier(smooth), options=options)(x[None])
    order = np.argsort(-smooth(x[None]).numpy()[0])
    np.random.seed(0)  # noqa: NPY002 (ART uses the global generator)
    for place, target in enumerate(order[1:]):
        score = clever_t(estimator, x, int(target), 100, 30, 0.2, 2, c_init=5.0)
        maxima, limit = fits[-1]
        assert largest_possible(maxima) == pytest.approx(limit, rel=0.01)
        assert ours.scores[0, place] == pytest.approx(score, rel=0.03)  # from other points


class TestTables:
    def test_ratios_of_the_papers_means_are_the_papers(self):
        table = tables.table_1(paper.TABLE_1).set_index(["form", "label", "kind"])["ratio"]
        printed = {
            ("mnist", "untargeted", "FGSM"): 32.55,
            ("mnist", "untargeted", "all attacks"): 74.77,
            ("mnist", "target-2", "JSMA"): 65.79,
            ("mnist", "least likely", "all attacks"): 20.29,
            ("cifar10", "untargeted", "BIM-a"): 11.71,
            ("cifar10", "target-5", "all attacks"): 3.16,
        }
        for key, ratio in printed.items():
            assert table[key] == pytest.approx(ratio, rel=2e-3)

    def test_the_order_is_that_of_the_paper(self):
        found = tables.order(tables.table_1(paper.TABLE_1)).set_index("form")
        assert found.loc["cifar10", "near"] == pytest.approx(0.4829 / 0.1091)
        assert found.loc["cifar10", "far"] == pytest.approx(0.4829 / 0.3572)
        assert (found["next"] > found["others"]).all()

    def test_figure_2_shows_small_scores_only(self):
        count = 400
        scores = pd.DataFrame(
            {
                "form": np.repeat(["a", "b"], count // 2),
                "kind": np.tile(["benign", "FGSM"], count // 2),
                "untargeted": np.linspace(0, 0.6, count),
                "JSMA_d": np.arange(count),
            }
        )
        points = tables.figure_2(scores, ["benign", "FGSM"])
        assert points["form"].value_counts().to_dict() == {"a": 100}
        assert points["score"].max() <= 0.3
        rows = tables.correlation(points).to_dict("records")
        assert rows == [{"form": "a", "inputs": 100, "correlation": pytest.approx(1)}]

    def test_table_4_takes_the_means_of_what_fools(self):
        scores = pd.DataFrame(
            {
                "form": "a",
                "kind": ["C&W κ5", "C&W κ5", "benign"],
                "fooled": [True, False, False],
                "untargeted": [0.2, 9.0, 9.0],
                tables.BIM_D: [3.0, 9.0, 9.0],
                "distance": [1.5, 9.0, 9.0],
            }
        )
        confident = {"C&W κ5": CarliniWagner(confidence=5)}
        ours, theirs = tables.table_4(scores, confident, {5: (0.1, 2, 1)}).to_dict("records")
        assert ours == {
            **{"form": "a", "confidence": 5, "fooled": 0.5},
            **{"score": 0.2, "steps": 3, "distance": 1.5},
        }
        assert theirs["form"] == tables.PAPER
        assert [theirs[name] for name in ("score", "steps", "distance")] == [0.1, 2, 1]


@pytest.fixture
def _two_attacks(monkeypatch):
    record = RECORDS["digits"]
    quick = {"FGSM": record.settings.attacks["FGSM"], "BIM-a": BIM(eps=0.3, eps_iter=0.05)}
    defences = {"JSMA_d": JSMA(max_iterations=10), "BIM_d": quick["BIM-a"]}
    settings = dataclasses.replace(record.settings, attacks=quick, defences=defences)
    monkeypatch.setitem(RECORDS, "digits", dataclasses.replace(record, settings=settings))
    monkeypatch.setattr(weibull, "SHAPES", (1.0,))  # the fits themselves are tested above


@pytest.mark.usefixtures("_two_attacks")
def test_the_command_writes_and_resumes(tmp_path, capsys):
    words = ["--limit", "2", "--samples", "2", "--maxima", "4", "--out", str(tmp_path)]
    main(words)
    first = capsys.readouterr().out
    assert "2 inputs of each kind. 4 maxima over 2 points" in first
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoints",
        "figure_2.png",
        "results.json",
        "scores.csv",
        "tables.md",
    }
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == 2 * 3 * 2
    means = scores.groupby(["form", "kind"])["untargeted"].mean()
    for form in ("logits", "capped softmax"):
        assert means[form, "benign"] > means[form, "BIM-a"]
    main(words)
    again = capsys.readouterr().out
    assert "computing" not in again
    assert again[again.index("**Table 1**") :] == first[first.index("**Table 1**") :]


@pytest.mark.slow
def test_the_order_of_table_1_on_digits(tmp_path, capsys):
    main(["--limit", "6", "--samples", "16", "--confidences", "0", "4", "--out", str(tmp_path)])
    assert "**Table 4: C&W with confidence κ**" in capsys.readouterr().out
    scores = pd.read_csv(tmp_path / "scores.csv")
    means = scores.groupby(["form", "kind"])[["untargeted", "target-2"]].mean()
    for form in ("logits", "capped softmax"):
        benign = means.loc[form, "benign"]
        for kind in ("BIM-a", "JSMA", "C&W"):
            assert (benign > 1.5 * means.loc[form, kind]).all(), kind
        assert (means.loc[form, "C&W κ4"] > 10 * means.loc[form, "C&W κ0"]).all()


def test_one_input_has_no_interval(capsys):
    with pytest.raises(SystemExit):
        main(["--limit", "1"])
    assert "at least 2 test inputs" in capsys.readouterr().err
