import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from a2d_keras import BIM, Classifier

pytestmark = pytest.mark.keras

SHAPE = (6, 6, 2)


def body():
    return [keras.Input(SHAPE), layers.Flatten(), layers.Dense(8, "tanh"), layers.Dropout(0.5)]


def convolutional_head(activation):
    head = [layers.Conv2D(5, 3), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input(SHAPE), *head, *activation])


def nested():
    inputs = keras.Input(SHAPE)
    inner = keras.Sequential([*body(), layers.Dense(5, "softmax")])
    return keras.Model(inputs, inner(layers.Rescaling(2.0, -1.0)(inputs)))


def functional_with_preprocessing():
    inputs = keras.Input(SHAPE)
    x = layers.Normalization(mean=[0.4, 0.5], variance=[0.1, 0.2])(layers.Rescaling(0.5)(inputs))
    x = layers.BatchNormalization()(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(5, "softmax")(x))


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    def __init__(self, activation="softmax", **kwargs):
        super().__init__(**kwargs)
        self.flatten = layers.Flatten()
        self.dropout = layers.Dropout(0.5)
        self.dense = layers.Dense(5, activation)

    def build(self, input_shape):
        self.dense.build((None, int(np.prod(input_shape[1:]))))

    def call(self, x, training=False):
        return self.dense(self.dropout(self.flatten(x), training=training))


@keras.saving.register_keras_serializable(package="tests")
class HiddenSoftmax(layers.Layer):
    """A softmax that the graph hides in a function call."""

    def call(self, x):
        return self._softmax(x)

    @tf.function
    def _softmax(self, x):
        e = tf.exp(x - tf.reduce_max(x, axis=-1, keepdims=True))
        return e / tf.reduce_sum(e, axis=-1, keepdims=True)


def subclassed():
    model = Subclassed()
    model(np.zeros((1, *SHAPE), "float32"))
    return model


ENDING_IN_SOFTMAX = {
    "inside the last Dense": lambda: keras.Sequential([*body(), layers.Dense(5, "softmax")]),
    "Activation layer": lambda: keras.Sequential(
        [*body(), layers.Dense(5), layers.Activation("softmax")]
    ),
    "Softmax layer": lambda: keras.Sequential([*body(), layers.Dense(5), layers.Softmax()]),
    "before a Reshape": lambda: keras.Sequential(
        [*body(), layers.Dense(5, "softmax"), layers.Reshape((5,)), layers.Activation("linear")]
    ),
    "after global pooling": lambda: convolutional_head([layers.Softmax()]),
    "in a model in a model": nested,
    "behind preprocessing": functional_with_preprocessing,
    "in a subclassed model": subclassed,
}


@pytest.mark.parametrize("make", ENDING_IN_SOFTMAX.values(), ids=ENDING_IN_SOFTMAX)
def test_logits_are_those_of_the_softmax(make, small_images):
    model = make()
    classifier = Classifier(model)
    logits = classifier.logits(small_images)
    assert logits.dtype == tf.float32
    assert classifier.classes == 5
    expected = model.predict(small_images, verbose=0)
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-5)
    # Logits, not log-probabilities: these would all sum to one.
    assert np.abs(tf.reduce_logsumexp(logits, axis=-1)).max() > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.Sequential([*body(), layers.Dense(5)]),
        lambda: convolutional_head([]),
        lambda: keras.Sequential([*body(), layers.Dense(5, "sigmoid"), layers.Rescaling(3.0)]),
    ],
)
def test_logits_pass_as_they_are(make, small_images):
    model = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = Classifier(model).logits(small_images)
    np.testing.assert_allclose(logits, model.predict(small_images, verbose=0), atol=1e-6)


def test_saturated_softmax_still_has_a_gradient():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, "softmax", use_bias=False)])
    model.set_weights([np.array([[500.0, 0.0], [0.0, 500.0]], "float32")])
    x = np.array([[0.9, 0.3]], "float32")
    assert model.predict(x, verbose=0)[0, 0] == 1.0
    result = BIM(eps=0.5, eps_iter=0.01)(Classifier(model), x)
    assert result.success.all()
    assert result.cost[0] in (30, 31)


def test_inference_mode(small_images):
    model = functional_with_preprocessing()
    classifier = Classifier(model)
    before = [w.copy() for w in model.get_weights()]
    first, second = classifier.logits(small_images), classifier.logits(small_images)
    np.testing.assert_array_equal(first, second)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_are_shared(small_images):
    model = keras.Sequential([*body(), layers.Dense(5, "softmax")])
    classifier = Classifier(model)
    before = classifier.logits(small_images)
    model.layers[-1].bias.assign(np.arange(5.0))
    np.testing.assert_allclose(classifier.logits(small_images), before + np.arange(5.0), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("ending", ["in Dense", "float32 Activation"])
def test_mixed_precision(policy, ending, small_images):
    keras.config.set_dtype_policy(policy)
    last = (
        [layers.Dense(5, "softmax")]
        if ending == "in Dense"
        else [layers.Dense(5), layers.Activation("softmax", dtype="float32")]
    )
    model = keras.Sequential([*body(), *last])
    logits = Classifier(model).logits(small_images)
    assert logits.dtype == tf.float32
    expected = np.asarray(model.predict(small_images, verbose=0), "float32")
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=2e-2)
    assert np.abs(tf.reduce_logsumexp(logits, axis=-1)).max() > 1e-3


def test_one_sigmoid_is_two_classes(small_images):
    model = keras.Sequential([*body(), layers.Dense(1, "sigmoid")])
    classifier = Classifier(model)
    assert classifier.classes == 2
    expected = model.predict(small_images, verbose=0)[:, 0]
    probabilities = tf.nn.softmax(classifier.logits(small_images))
    np.testing.assert_allclose(probabilities[:, 1], expected, atol=1e-6)


def test_one_unit_takes_a_word_from_the_user(small_images):
    model = keras.Sequential([*body(), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"two classes or more.*Received: \(None, 1\)"):
        Classifier(model)
    logits = Classifier(model, from_logits=True).logits(small_images)
    expected = model.predict(small_images, verbose=0)[:, 0]
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-6)


def test_legacy_h5(tmp_path, small_images):
    model = keras.Sequential([*body(), layers.Dense(5, "softmax")])
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(
        Classifier(loaded).logits(small_images), Classifier(model).logits(small_images), atol=1e-6
    )


def test_hidden_softmax_warns_once_and_gives_log_probabilities(small_images):
    model = keras.Sequential([*body(), layers.Dense(5), HiddenSoftmax()])
    with pytest.warns(UserWarning, match="out of sight.*Return logits") as record:
        classifier = Classifier(model)
    assert len(record) == 1
    expected = np.log(model.predict(small_images, verbose=0))
    np.testing.assert_allclose(classifier.logits(small_images), expected, atol=1e-5)


def test_from_logits_overrules_what_is_seen(small_images):
    model = keras.Sequential([*body(), layers.Dense(5, "softmax")])
    taken_as_logits = Classifier(model, from_logits=True).logits(small_images)
    np.testing.assert_allclose(taken_as_logits, model.predict(small_images, verbose=0), atol=1e-6)
    hidden = keras.Sequential([*body(), layers.Dense(1), layers.Activation("sigmoid")])
    classifier = Classifier(hidden, from_logits=False)
    np.testing.assert_allclose(
        tf.nn.softmax(classifier.logits(small_images))[:, 1],
        hidden.predict(small_images, verbose=0)[:, 0],
        atol=1e-6,
    )


def two_outputs():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])


def two_inputs():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(inputs)))


def image_output():
    return keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(5, 3)])


def one_class():
    return keras.Sequential([keras.Input((4,)), layers.Dense(1, "softmax")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_outputs, r"one output\. Received: 2 outputs of Functional"),
        (two_inputs, r"one input\. Received: 2 inputs of Functional"),
        (image_output, r"\(batch, classes\)\. Received: \(None, 4, 4, 5\)"),
        (one_class, r"two classes or more.*Received: \(None, 1\)"),
        (Subclassed, r"must be built.*Received: Subclassed"),
    ],
)
def test_refuses_other_models(make, message):
    with pytest.raises(ValueError, match=message):
        Classifier(make())


@pytest.mark.parametrize(
    "bounds", [(1, 0), (0, 0), (0, np.inf), (np.nan, 1), (0,), (0, 1, 2), "ab", 3, None]
)
def test_refuses_other_bounds(bounds):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="two increasing finite numbers. Received: "):
        Classifier(model, bounds=bounds)


def test_a_cast_to_integers_has_no_gradient():
    inputs = keras.Input((4,))
    whole = layers.Lambda(lambda t: keras.ops.cast(keras.ops.cast(t, "uint8"), "float32"))
    model = keras.Model(inputs, layers.Dense(3)(whole(inputs)))
    with pytest.raises(ValueError, match="differentiable in its input.*Received: Functional"):
        BIM()(Classifier(model, bounds=(0, 255)), np.full((2, 4), 7))


class TestPredict:
    """The classifier computes what `model.predict` does."""

    X = np.random.default_rng(0).uniform(0, 255, (10, 4)).astype("float32")

    @staticmethod
    def inner():
        return keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")])

    def agrees(self, model):
        classifier = Classifier(model, bounds=(0, 255))
        expected = model.predict(self.X, verbose=0)
        np.testing.assert_allclose(classifier.predictions(self.X), expected, atol=1e-6)
        logits = classifier.logits(self.X)
        np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-6)
        assert np.abs(tf.reduce_logsumexp(logits, axis=-1)).max() > 1e-3
        spec = classifier.predictions_spec(keras.KerasTensor((None, 4)))
        assert (spec.shape, spec.dtype) == ((None, 3), "float32")

    def test_its_predict_step(self):
        class Scaled(keras.Model):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def call(self, x, training=False):
                return self.inner(x, training=training)

            def predict_step(self, data):
                x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
                return self.inner((tf.cast(x, tf.float32) - 127.5) / 127.5, training=False)

        model = Scaled(self.inner())
        model(self.X)
        self.agrees(model)

    def test_preprocessing_of_samples(self):
        class Pipeline(keras.Model):
            def preprocess_samples(self, x, y=None, sample_weight=None):
                return keras.utils.pack_x_y_sample_weight(x / 255, y, sample_weight)

            def predict(self, x, **kwargs):
                return super().predict(self.preprocess_samples(x), **kwargs)

        inputs = keras.Input((4,))
        model = Pipeline(inputs, self.inner()(inputs))
        assert np.abs(model(self.X) - model.predict(self.X, verbose=0)).max() > 0.1
        self.agrees(model)

    @pytest.mark.parametrize(
        "predict",
        [
            lambda self, x, **kwargs: keras.Model.predict(self, x / 255, **kwargs),
            lambda self, x, **kwargs: keras.Model.predict(self, x, **kwargs).argmax(-1),
            lambda self, x, **kwargs: {"label": keras.Model.predict(self, x, **kwargs)[:, 0] > 0.5},
            lambda self, x: np.round(keras.Model.predict(self, x, verbose=0)),
        ],
        ids=["preprocesses", "gives labels", "decides", "rounds"],
    )
    def test_another_predict_is_refused(self, predict):
        inputs = keras.Input((4,))
        outputs = self.inner()(layers.Rescaling(1 / 255)(inputs))
        model = type("Other", (keras.Model,), {"predict": predict})(inputs, outputs)
        message = "something that neither.*into layers of the model. Received: Other"
        with pytest.raises(ValueError, match=message):
            Classifier(model, bounds=(0, 255))

    def test_a_predict_that_adds_nothing_is_taken(self):
        class Logged(keras.Model):
            def predict(self, x, **kwargs):
                return super().predict(x, **kwargs)

        inputs = keras.Input((4,))
        self.agrees(Logged(inputs, self.inner()(layers.Rescaling(1 / 255)(inputs))))


class TestLabels:
    """Sigmoid units that are labels of their own."""

    @pytest.mark.parametrize(
        "ending",
        [
            lambda: [layers.Dense(4, "sigmoid")],
            lambda: [layers.Dense(4), layers.Activation("sigmoid"), layers.Reshape((4,))],
            lambda: [layers.Dense(4, "sigmoid"), layers.Lambda(lambda p: p * p)],
        ],
        ids=["in Dense", "Activation", "hidden"],
    )
    def test_are_refused(self, ending):
        model = keras.Sequential([*body(), *ending()])
        with pytest.raises(ValueError, match="label of its own.*`from_logits`.*4 units of Sequen"):
            Classifier(model)

    @pytest.mark.parametrize("from_logits", [True, False])
    def test_the_user_may_call_them_exclusive(self, from_logits, small_images):
        model = keras.Sequential([*body(), layers.Dense(4, "sigmoid")])
        logits = Classifier(model, from_logits=from_logits).logits(small_images).numpy()
        expected = model.predict(small_images, verbose=0)
        given = logits if from_logits else 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(given, expected, atol=1e-6)

    def test_one_label_is_guarded_by_a_model_of_one_unit(self, small_images):
        model = keras.Sequential([*body(), layers.Dense(4, "sigmoid")])
        head = layers.Dense(1, "sigmoid")
        single = keras.Model(model.inputs, head(model.layers[-2].output))
        kernel, bias = model.layers[-1].get_weights()
        head.set_weights([kernel[:, 2:3], bias[2:3]])
        probabilities = tf.nn.softmax(Classifier(single).logits(small_images))
        expected = model.predict(small_images, verbose=0)[:, 2]
        np.testing.assert_allclose(probabilities[:, 1], expected, atol=1e-6)

    def test_untrained_outputs_tell_nothing(self):
        model = keras.Sequential([*body(), layers.Dense(4, kernel_initializer="zeros")])
        assert Classifier(model).classes == 4


class TestThreshold:
    @pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
    @pytest.mark.parametrize(
        ("ending", "from_logits"),
        [
            (lambda: [layers.Dense(1, "sigmoid")], None),
            (lambda: [layers.Dense(1)], True),
            (lambda: [layers.Dense(1, "sigmoid"), layers.Lambda(lambda p: p + 0.0)], False),
        ],
        ids=["sigmoid", "logit", "probability"],
    )
    @pytest.mark.filterwarnings("ignore:The softmax of this classifier is out of sight")
    def test_decides(self, ending, from_logits, threshold):
        model = keras.Sequential([keras.Input((4,)), *ending()])
        x = np.random.default_rng(0).normal(0, 3, (200, 4)).astype("float32")
        classifier = Classifier(model, bounds=(-9, 9), from_logits=from_logits, threshold=threshold)
        given = model.predict(x, verbose=0)[:, 0]
        probability = 1 / (1 + np.exp(-given)) if from_logits else given
        decided = classifier.logits(x).numpy().argmax(1)
        np.testing.assert_array_equal(decided, probability > threshold)
        assert 0 < decided.mean() < 1

    def test_belongs_to_one_unit(self):
        model = keras.Sequential([*body(), layers.Dense(3)])
        with pytest.raises(ValueError, match=r"one unit.*Received: 0\.4 for \(None, 3\)"):
            Classifier(model, threshold=0.4)

    @pytest.mark.parametrize("threshold", [0, 1, -0.1, np.nan, "0.5", None])
    def test_lies_between_0_and_1(self, threshold):
        model = keras.Sequential([*body(), layers.Dense(1, "sigmoid")])
        with pytest.raises(ValueError, match="between 0 and 1. Received: "):
            Classifier(model, threshold=threshold)


class TestNotFinite:
    @staticmethod
    def gradient(function, x):
        model = keras.Sequential([keras.Input((4,)), layers.Lambda(function)])
        logits, pullback = Classifier(model, from_logits=True).vjp(tf.constant(x, tf.float32))
        return pullback(tf.ones_like(logits)).numpy()

    def test_infinities_get_the_largest_finite_size(self):
        found = self.gradient(
            lambda x: keras.ops.sqrt(x) * [1.0, 1.0, -1.0, 3.0],
            [[0, 0.25, 0, 0.01], [0, 0, 0, 0], [0.25, 0.25, 1, 1]],
        )
        expected = [[15, 1, -15, 15], [1, 1, -1, 1], [1, 1, -0.5, 1.5]]
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_nan_becomes_zero(self):
        found = self.gradient(lambda x: tf.where(x > 0, tf.sqrt(x), 0.0) * 2, [[0, 0.25, 1, 0]])
        np.testing.assert_allclose(found, [[0, 2, 1, 0]])

    def test_a_finite_gradient_stays_to_the_bit(self, classifier, benign):
        x = tf.constant(benign)
        logits, pullback = classifier.vjp(x)
        direction = tf.one_hot(tf.argmax(logits, axis=-1), 10)
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = classifier.logits(x)
        expected = tape.gradient(logits, x, output_gradients=direction)
        np.testing.assert_array_equal(pullback(direction), expected)

    def test_trusted(self, classifier):
        inf, nan = np.inf, np.nan
        rows = [[0, 1], [nan, 1], [-inf, 3], [inf, 3], [-inf, -inf], [1, nan], [-inf, nan]]
        trusted = classifier.trusted(tf.constant(rows, tf.float32)).numpy()
        assert trusted.tolist() == [True, False, True, False, False, False, False]


def test_a_classifier_is_a_key_that_does_not_keep_it():
    kept = weakref.WeakKeyDictionary()
    model = keras.Sequential([*body(), layers.Dense(3)])
    first, second = Classifier(model), Classifier(model)
    kept[first], kept[second] = 1, 2
    assert (kept[first], kept[second]) == (1, 2)
    del first
    gc.collect()
    assert len(kept) == 1


def test_config_makes_an_equal_classifier(small_images):
    model = keras.Sequential([*body(), layers.Dense(1, "sigmoid")])
    classifier = Classifier(model, bounds=(-1, 2), threshold=0.7, data_format="channels_first")
    again = Classifier(model, **classifier.get_config())
    assert again.get_config() == classifier.get_config()
    np.testing.assert_array_equal(again.logits(small_images), classifier.logits(small_images))


def test_only_the_model_has_a_place():
    with pytest.raises(TypeError):
        Classifier(keras.Sequential([*body(), layers.Dense(3)]), (0, 1))
