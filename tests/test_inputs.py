"""Valid inputs: validated once, in a graph, and with one range per feature."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from a2d_keras import BIM, DBA, Classifier, inputs
from a2d_keras.classifier import geometry

pytestmark = pytest.mark.keras

X = np.random.default_rng(0).uniform(size=(6, 4)).astype("float32")
LOW = np.array([18, 0, 0, -1], "float32")
HIGH = np.array([90, 1e6, 1, 1], "float32")


def dense(*before):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), *before, layers.Dense(3, "softmax")])


def named(structure):
    one = keras.Input((4,), name="pixels")
    given = {"plain": one, "list": [one], "dict": {"pixels": one}, "alias": {"image": one}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, of the alias
        return keras.Model(given[structure], layers.Dense(3, "softmax")(one))


@pytest.fixture(scope="module")
def classifier():
    return Classifier(dense())


@pytest.fixture(scope="module")
def tabular():
    scaled = layers.Rescaling((1 / (HIGH - LOW)).tolist(), (-LOW / (HIGH - LOW)).tolist())
    return Classifier(dense(scaled), bounds=(LOW, HIGH))


class TestNamedInputs:
    @pytest.mark.parametrize("structure", ["plain", "list", "dict", "alias"])
    @pytest.mark.filterwarnings("error")
    def test_a_model_is_fed_as_it_was_made(self, structure):
        model = named(structure)
        classifier = Classifier(model)
        given = {"alias": {"image": X}, "dict": {"pixels": X}, "list": [X], "plain": X}[structure]
        expected = model.predict(given, verbose=0)
        np.testing.assert_allclose(classifier.predictions(tf.constant(X)), expected, atol=1e-6)
        np.testing.assert_allclose(tf.nn.softmax(classifier.logits(X)), expected, atol=1e-6)
        np.testing.assert_array_equal(inputs.as_inputs(given, classifier), X)
        if structure != "list":  # a dataset would turn a list into one tensor
            dataset = tf.data.Dataset.from_tensor_slices((given, np.arange(6))).batch(4)
            batches = list(inputs.batches(dataset, classifier, 5))
            assert [len(batch) for batch in batches] == [5, 1]
            np.testing.assert_array_equal(np.concatenate(batches), X)

    def test_a_list_of_one_input_stays_one(self, classifier):
        assert np.shape(inputs.as_inputs([X[0]], classifier)) == (1, 4)
        assert np.shape(inputs.as_inputs([X], classifier)) == (6, 4)

    @pytest.mark.parametrize("given", [{"other": X}, {"pixels": X, "more": X}, {}])
    def test_other_names_are_refused(self, given):
        classifier = Classifier(named("plain"))
        with pytest.raises(ValueError, match=r"\['pixels'\]\. Received: \["):
            inputs.as_inputs(given, classifier)

    def test_other_names_in_a_dataset_are_refused(self):
        dataset = tf.data.Dataset.from_tensor_slices({"other": X}).batch(2)
        with pytest.raises(tf.errors.InvalidArgumentError, match="'pixels'.*Received: "):
            inputs.as_inputs(dataset, Classifier(named("dict")))


class TestValidity:
    def test_rows_and_summary(self, classifier):
        x = X.copy()
        x[1, 2], x[3, 0], x[4, :2] = np.nan, 2, (-1, np.inf)
        valid, summary = inputs.validity(tf.constant(x), classifier)
        assert valid.numpy().tolist() == [True, False, True, False, False, True]
        assert summary.counts.numpy().tolist() == [2, 2, 3, 6]
        assert (summary.min, summary.max) == (-1, 2)

    def test_slack_is_a_fraction_of_each_range(self, tabular):
        middle = (LOW + HIGH) / 2
        for feature, (above, valid) in enumerate([(5e-5, 1), (0.9, 1), (2e-6, 0), (1e-5, 0)]):
            x = middle.copy()
            x[feature] = HIGH[feature] + np.float32(above)
            assert inputs.validity(tf.constant(x[None]), tabular)[0].numpy()[0] == bool(valid)

    def test_bounds_of_each_feature_are_named(self, tabular):
        x = np.stack([LOW, HIGH, HIGH * 2])
        message = "within the bounds of each feature; scale.* 0 .*finite, 4 outside.* 1 of 3 inputs"
        with pytest.raises(ValueError, match=message):
            inputs.validate(x, tabular)
        inputs.validate(x[:2], tabular)

    def test_an_array_is_scanned_once(self, classifier, monkeypatch):
        scans = []
        validity = inputs.validity
        monkeypatch.setattr(inputs, "validity", lambda *a: scans.append(1) or validity(*a))
        inputs.validate(X, classifier)
        assert len(scans) == 1
        parts = list(inputs.batches(X, classifier, 4, validated=True))
        assert len(scans) == 1
        np.testing.assert_array_equal(np.concatenate(parts), X)
        bad = X + 1
        assert len(list(inputs.batches(bad, classifier, 6, validated=True))) == 1
        with pytest.raises(ValueError, match="outside the bounds"):
            next(inputs.batches(bad, classifier, 6))


class TestBoundsPerFeature:
    def test_what_they_become(self, tabular, classifier):
        np.testing.assert_array_equal(tabular.bounds, (LOW, HIGH))
        np.testing.assert_array_equal(tabular.range, HIGH - LOW)
        assert tabular.unit.bounds == (0.0, 1.0)
        assert classifier.unit is classifier
        assert classifier.to_unit(X) is classifier.from_unit(X) is X

    def test_there_and_back(self, tabular):
        x = np.concatenate([tabular.random_inputs(50), [LOW, HIGH]])
        assert ((x >= LOW) & (x <= HIGH)).all()
        u = tabular.to_unit(tf.constant(x)).numpy()
        assert (u.min(), u.max()) == (0, 1)
        np.testing.assert_allclose(tabular.from_unit(u), x, rtol=1e-6, atol=1e-6)
        beyond = tabular.from_unit(np.float32([[-0.1] * 4, [1.1] * 4]))
        np.testing.assert_array_equal(beyond, [LOW, HIGH])

    def test_the_unit_classifier_is_the_same_function(self, tabular):
        x = tabular.random_inputs(20)
        u = tabular.to_unit(x)
        np.testing.assert_allclose(tabular.unit.logits(u), tabular.logits(x), atol=1e-5)
        np.testing.assert_allclose(tabular.unit.predictions(u), tabular.predictions(x), atol=1e-6)
        assert tabular.unit.classes == 3
        assert tabular.unit.weights_hash() == tabular.weights_hash()

    @pytest.mark.slow
    def test_attacks_cost_as_on_features_scaled_by_hand(self, tabular):
        model = tabular.model
        inputs_ = keras.Input((4,))
        by_hand = layers.Rescaling((HIGH - LOW).tolist(), LOW.tolist())(inputs_)
        twin = Classifier(keras.Model(inputs_, model(by_hand)))
        ours, theirs = (BIM(eps_iter=0.01)(each, X) for each in (tabular.unit, twin))
        np.testing.assert_array_equal(ours.cost, theirs.cost)
        np.testing.assert_array_equal(ours.adversarial, theirs.adversarial)
        assert theirs.success.any()

    def test_one_side_may_be_a_number_and_channels_broadcast(self):
        model = keras.Sequential([keras.Input((5, 5, 3)), layers.Flatten(), layers.Dense(3)])
        classifier = Classifier(model, bounds=(0, [1.0, 2.0, 4.0]))
        low, high = classifier.bounds
        assert low.shape == high.shape == (5, 5, 3)
        np.testing.assert_array_equal(high[2, 3], [1, 2, 4])
        again = Classifier(model, **classifier.get_config())
        np.testing.assert_array_equal(again.bounds, classifier.bounds)

    def test_numbers_stay_numbers(self):
        for bounds in ((0, 1), (np.float32(0), np.array(1.0)), [0.0, 1.0]):
            classifier = Classifier(dense(), bounds=bounds)
            assert classifier.bounds == (0.0, 1.0)
            assert classifier.range == 1.0

    @pytest.mark.parametrize(
        ("bounds", "message"),
        [
            (([0, 0, 0, 0], [1, 0, 1, 0]), "2 of 4 features with equal bounds, 0 with decreasing"),
            (([0, 5, 0, 0], [1, 1, 1, 1]), "0 of 4 features with equal bounds, 1 with decreasing"),
            (([0, 1e8, 0, 0], [1, 1e8 + 1, 1, 1]), "1 of 4 features with equal bounds"),
            (([0, 0], [1, 1]), r"shape of one input, \(4,\).*shapes \(2,\) and \(2,\)"),
            ((np.zeros(4), [1, np.nan, 1, np.inf]), "2 of 4 features with other values"),
            (([-3e38] * 4, [3e38] * 4), "4 of 4 features with other values"),
            ((["a"] * 4, ["b"] * 4), "two increasing finite numbers"),
        ],
    )
    def test_others_are_refused(self, bounds, message):
        with pytest.raises(ValueError, match=f"{message}"):
            Classifier(dense(), bounds=bounds)


class TestIntegers:
    @pytest.fixture(scope="class")
    def pixels(self):
        """Declares uint8, as does the model inside, and scales."""
        inner = keras.Sequential([keras.Input((4,), dtype="uint8"), layers.Rescaling(1 / 255)])
        inputs_ = keras.Input((4,), dtype="uint8")
        stack = layers.BatchNormalization()(layers.Dropout(0.5)(inner(inputs_)))
        return Classifier(keras.Model(inputs_, layers.Dense(3, "softmax")(stack)), bounds=(0, 255))

    def test_the_model_is_continuous_but_for_its_dtype(self, pixels):
        whole = np.random.default_rng(0).integers(0, 256, (20, 4)).astype("uint8")
        expected = pixels.model.predict(whole, verbose=0)
        np.testing.assert_allclose(pixels.predictions(tf.constant(whole)), expected, atol=1e-6)
        logits = pixels.logits(whole.astype("float32"))
        np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-6)
        between = pixels.logits(whole.astype("float32") + 0.5)
        assert np.abs(between - logits).max() > 1e-5

    def test_gradient_attacks_run(self, pixels):
        whole = np.random.default_rng(0).integers(0, 256, (20, 4)).astype("uint8")
        result = BIM(eps=1.0, eps_iter=0.05)(pixels, whole)
        assert result.success.any()
        before = pixels.logits(whole.astype("float32")).numpy().argmax(1)
        after = pixels.logits(result.adversarial).numpy().argmax(1)
        np.testing.assert_array_equal((before != after), result.success)

    def test_fractions_are_cut_as_keras_cuts_them(self, pixels):
        x = np.full((1, 4), 7.9, "float32")
        np.testing.assert_array_equal(inputs.checked(x, pixels), [[7.0] * 4])
        expected = pixels.model.predict(x, verbose=0)
        logits = pixels.logits(inputs.checked(x, pixels))
        np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-6)

    def test_whole_numbers_with_ranges_of_their_own(self):
        stack = [layers.Rescaling([0.01, 1.0, 1.0, 0.5]), layers.Dense(3, "softmax")]
        model = keras.Sequential([keras.Input((4,), dtype="int32"), *stack])
        classifier = Classifier(model, bounds=([0, 0, 0, -4], [90, 1, 1, 4]))
        x = np.array([[45, 1, 0, 2], [9, 0, 1, -2]], "float32")
        u = classifier.to_unit(inputs.checked(x, classifier))
        np.testing.assert_allclose(u, [[0.5, 1, 0, 0.75], [0.1, 0, 1, 0.25]], atol=1e-6)
        np.testing.assert_array_equal(inputs.clip(u, classifier.unit), u)
        expected = model.predict(x.astype("int32"), verbose=0)
        np.testing.assert_allclose(tf.nn.softmax(classifier.unit.logits(u)), expected, atol=1e-6)

    @pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float64"])
    def test_any_real_dtype_comes_in(self, dtype):
        classifier = Classifier(dense(layers.Rescaling(1 / 255)), bounds=(0, 255))
        x = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], dtype)
        assert inputs.as_inputs(x, classifier).dtype == dtype
        np.testing.assert_array_equal(inputs.checked(x, classifier), x.astype("float32"))
        np.testing.assert_allclose(
            classifier.predictions(tf.constant(x)),
            classifier.model.predict(x, verbose=0),
            atol=1e-3,
        )


def embedded(dtype):
    stack = [layers.Embedding(20, 4), layers.GlobalAveragePooling1D(), layers.Dense(2, "softmax")]
    return keras.Sequential([keras.Input((6,), dtype=dtype), *stack])


class Tokens(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = layers.Embedding(20, 4, mask_zero=True), layers.Dense(2)

    def call(self, x):
        return self.head(keras.ops.mean(self.embedding(x), axis=1))


def subclassed_tokens():
    model = Tokens()
    model(np.zeros((1, 6), "int32"))
    return model


def text():
    words = layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=3)
    stack = [words, layers.Embedding(5, 2), layers.Flatten(), layers.Dense(2)]
    return keras.Sequential([keras.Input((1,), dtype="string"), *stack])


def encoded(layer):
    tokens = keras.Input((6,), dtype="int32")
    return keras.Model(tokens, layers.Dense(2)(layer(tokens)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: embedded("int32"),
        lambda: embedded("float32"),
        subclassed_tokens,
        text,
        lambda: encoded(layers.CategoryEncoding(20, output_mode="multi_hot")),
        lambda: encoded(layers.IntegerLookup(vocabulary=[1, 2, 3], output_mode="multi_hot")),
        lambda: encoded(layers.Hashing(8, output_mode="multi_hot")),
    ],
    ids=["integers", "floats", "subclassed", "words", "encoded", "a vocabulary", "hashed"],
)
def test_tokens_are_refused(make):
    message = "tokens in an embedding.*follows the embedding, on embedded inputs. Received:"
    with pytest.raises(ValueError, match=message):
        Classifier(make(), bounds=(0, 19))


def test_what_stands_behind_an_embedding_is_taken():
    behind = [layers.GlobalAveragePooling1D(), layers.Dense(2, "softmax")]
    Classifier(keras.Sequential([keras.Input((6, 4)), *behind]))


@pytest.mark.slow
def test_one_feature_looked_up_among_others_is_taken():
    features = keras.Input((4,))
    code = layers.Flatten()(layers.Embedding(5, 2)(features[:, 3:]))
    model = keras.Model(features, layers.Dense(3)(layers.Concatenate()([features[:, :3], code])))
    result = DBA(max_iterations=3)(Classifier(model), X)
    assert np.isfinite(result.adversarial).all()


@pytest.mark.parametrize(
    ("preprocess", "shape"),
    [
        (lambda x: tf.image.resize(x, (6, 4)), (None, None, 3)),
        (lambda x: x / 255, (6, 4, 3)),
        (lambda x: tf.ensure_shape(x, (None, 24)), (6, 4, 3)),  # takes no images
    ],
    ids=["resizes", "scales", "neither"],
)
def test_sides_are_open_where_a_task_resizes_images(preprocess, shape):
    class Task(keras.Model):
        """Preprocesses like a task of KerasHub."""

        def preprocess_samples(self, x):
            return preprocess(x)

    images = keras.Input((6, 4, 3))
    task = Task(images, layers.Dense(2)(layers.Flatten()(images)))
    assert geometry.input_shape(task) == shape


class TestBatches:
    def test_a_declared_batch_size_does_not_matter(self):
        model = keras.Sequential([keras.Input((4,), batch_size=8), layers.Dense(3)])
        assert Classifier(model).logits(tf.constant(X)).shape == (len(X), 3)

    def test_one_batch_size_is_refused(self):
        of_eight = layers.Lambda(lambda x: keras.ops.reshape(x, (8, 4)))
        model = keras.Sequential([keras.Input((4,), batch_size=8), of_eight, layers.Dense(3)])
        with pytest.raises(ValueError, match="without `batch_size`.*only batches of 8,"):
            Classifier(model)

    def test_state_is_refused(self):
        stack = [layers.LSTM(3, stateful=True, name="memory"), layers.Dense(3)]
        model = keras.Sequential([keras.Input((5, 4), batch_size=8), *stack])
        with pytest.raises(ValueError, match=r"`stateful=False`.*Received: .*\['memory'\]"):
            Classifier(model)


class TestDataFormat:
    @pytest.mark.parametrize(
        ("shape", "before", "expected"),
        [
            ((8, 8, 3), [], "channels_last"),
            ((3, 8, 8), [layers.Permute((2, 3, 1))], "channels_first"),
            ((1, 8, 8), [], "channels_first"),
            ((8, 8, 7), [], "channels_last"),
            ((7, 8, 8), [layers.ZeroPadding2D(data_format="channels_first")], "channels_first"),
            ((3, 8, 3), [layers.ZeroPadding2D(data_format="channels_first")], "channels_first"),
            ((3, 8, 3), [layers.ZeroPadding2D(data_format="channels_last")], "channels_last"),
            ((4,), [], "channels_last"),
        ],
    )
    def test_is_seen(self, shape, before, expected):
        model = keras.Sequential([keras.Input(shape), *before, layers.Flatten(), layers.Dense(3)])
        assert Classifier(model).data_format == expected
        assert Classifier(model, data_format="channels_first").data_format == "channels_first"

    @pytest.mark.parametrize("given", ["NCHW", 1, True])
    def test_others_are_refused(self, given):
        with pytest.raises(ValueError, match='"channels_first" or None. Received: '):
            Classifier(dense(), data_format=given)
