import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from a2d_keras import BIM, Classifier

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
class OutOfSight(layers.Layer):
    """A softmax that no graph shows: it is computed behind a function call."""

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


def test_softmax_out_of_sight_warns_once_and_gives_log_probabilities(small_images):
    model = keras.Sequential([*body(), layers.Dense(5), OutOfSight()])
    with pytest.warns(UserWarning, match="out of sight.*robust and is missed") as record:
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
