"""A model that changes after it was wrapped, and the hash of the weights that it would save."""

import functools
import hashlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from a2d_keras import Classifier
from a2d_keras.classifier.structure import Structure, hash_weights

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`"),
]


def convolutional():
    stack = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.5)]
    head = [layers.Flatten(), layers.Dense(8, "relu"), layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, 1)), *stack, *head])


def nested():
    inputs = keras.Input((8, 8, 1))
    both = [convolutional()(layers.Rescaling(2.0)(inputs)), layers.Flatten()(inputs)]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(both)))


def shared():
    inputs, dense = keras.Input((4,)), layers.Dense(4)
    return keras.Model(inputs, layers.Dense(3)(dense(dense(inputs))))


@keras.saving.register_keras_serializable(package="tests")
class Own(keras.Model):
    """Has a weight of its own, and layers in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(4)
        self.rest = [layers.BatchNormalization(), layers.Dense(3)]
        self.scale = self.add_weight(shape=(4,), name="scale", initializer="ones")

    def call(self, x):
        x = self.first(x) * self.scale
        for layer in self.rest:
            x = layer(x)
        return x


def subclassed():
    model = Own()
    model(np.zeros((1, 4), "float32"))
    return model


def recurrent():
    stack = [layers.Bidirectional(layers.GRU(3)), layers.Dense(3)]
    return keras.Sequential([keras.Input((5, 4)), *stack])


def with_lora(model):
    generator = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, (layers.Dense, layers.Conv2D)):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(0.1 * generator.normal(size=layer.lora_kernel_b.shape))
    return model


def quantized(model, mode):
    if mode != "int8" and keras.__version__.startswith("3.3."):
        pytest.skip("Keras 3.3 lacks int4, and reads float8 in another order than it writes")
    model.quantize(mode)
    return model


PLAIN = [convolutional, nested, shared, subclassed, recurrent]
CHANGED = {
    "LoRA": lambda: with_lora(convolutional()),
    "LoRA inside": lambda: with_lora(nested()),
    "int8": lambda: quantized(nested(), "int8"),
    "int4": lambda: quantized(convolutional(), "int4"),
    "float8": lambda: quantized(convolutional(), "float8"),
    "int8 and LoRA": lambda: with_lora(quantized(convolutional(), "int8")),
}


class TestHash:
    @pytest.mark.parametrize("make", PLAIN)
    def test_plain_weights_are_hashed_in_their_order(self, make):
        model = make()
        digest = hashlib.sha256(b"".join(weights.tobytes() for weights in model.get_weights()))
        assert hash_weights(model) == int.from_bytes(digest.digest()[:8], "little", signed=True)

    @pytest.mark.parametrize(
        "make",
        [
            convolutional,
            CHANGED["LoRA inside"],
            *(
                pytest.param(make, marks=pytest.mark.slow)
                for make in (*PLAIN[1:], *list(CHANGED.values())[2:], CHANGED["LoRA"])
            ),
        ],
    )
    def test_saving_keeps_it_and_any_weight_changes_it(self, make, tmp_path):
        model = make()
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        before = hash_weights(model)
        assert hash_weights(loaded) == before == hash_weights(model)
        weight = next(weight for weight in reversed(model.weights) if weight.dtype == "float32")
        weight.assign(weight + 1)
        assert hash_weights(model) != before

    def test_lora_weights_count(self):
        model = with_lora(convolutional())
        before = hash_weights(model)
        model.layers[-1].lora_kernel_a.assign_add(np.ones(model.layers[-1].lora_kernel_a.shape))
        assert hash_weights(model) != before


def train(model, x):
    model.compile("sgd", "mse")
    model.fit(x, np.ones((len(x), 3)), verbose=0)


def normalized():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).uniform(size=(20, 4)))
    dense = layers.Dense(8, "tanh")
    return keras.Sequential([keras.Input((4,)), normalization, dense, layers.Dense(3, "softmax")])


X = np.random.default_rng(1).uniform(size=(16, 4)).astype("float32")


def replace(model):
    model.pop()
    model.add(layers.Dense(5, "softmax"))


def multiplied(settings, x):
    return settings.scale * x


def swap_the_activation(model):
    model.layers[1].activation = keras.activations.relu


CHANGES = {
    "LoRA": lambda model: with_lora(model),
    "int8": lambda model: model.quantize("int8"),
    "a layer": replace,
    "an activation": swap_the_activation,
    "Normalization": lambda model: model.layers[0].adapt(10 + 3 * X),
}


class TestRefresh:
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(change, marks=[pytest.mark.slow] if name == "int8" else [], id=name)
            for name, change in CHANGES.items()
        ],
    )
    def test_a_changed_model_is_read_anew(self, change):
        model = normalized()
        classifier = Classifier(model)
        before = classifier.logits(X).numpy()
        change(model)
        assert classifier.structure_changed()
        classifier.refresh()
        assert classifier.version == 1
        assert not classifier.structure_changed()
        logits, expected = classifier.logits(X), model.predict(X, verbose=0)
        assert classifier.classes == expected.shape[1]
        np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-5)
        assert logits.shape != before.shape or np.abs(logits - before).max() > 1e-3
        classifier.refresh()
        assert classifier.version == 1

    def test_what_no_structure_shows_is_found_by_its_answers(self):
        settings = types.SimpleNamespace(scale=1.0)
        scaled = layers.Lambda(functools.partial(multiplied, settings))
        model = keras.Sequential([keras.Input((4,)), scaled, layers.Dense(3, "softmax")])
        classifier = Classifier(model)
        settings.scale = 5.0
        assert not classifier.structure_changed()
        classifier.refresh()
        assert classifier.version == 1
        np.testing.assert_allclose(
            tf.nn.softmax(classifier.logits(X)), model(X), rtol=1e-5, atol=1e-6
        )

    def test_training_shares_the_graph(self):
        model = normalized()
        classifier = Classifier(model)
        before = classifier.logits(X).numpy()
        train(model, X)
        model.evaluate(X, np.ones((16, 3)), verbose=0)
        model.predict(X, verbose=0)
        model.trainable = False
        classifier.refresh()
        assert classifier.version == 0
        after = classifier.logits(X)
        assert np.abs(after - before).max() > 1e-6
        np.testing.assert_allclose(tf.nn.softmax(after), model(X), atol=1e-6)

    def test_a_model_that_is_a_classifier_no_more_is_refused(self):
        model = normalized()
        classifier = Classifier(model)
        model.add(layers.Reshape((3, 1)))
        with pytest.raises(ValueError, match="shape \\(batch, classes\\).*Received: "):
            classifier.refresh()

    def test_the_unit_classifier_changes_with_it(self):
        model = normalized()
        classifier = Classifier(model, bounds=(np.zeros(4), np.array([1, 2, 4, 8])))
        old = classifier.unit
        swap_the_activation(model)
        assert old.structure_changed()
        classifier.refresh()
        assert classifier.unit is not old
        np.testing.assert_allclose(
            classifier.unit.logits(X), classifier.logits(X * [1, 2, 4, 8]), atol=1e-6
        )


def test_structures_of_one_model_are_equal():
    for make in PLAIN:
        model = make()
        assert Structure(model) == Structure(model)
    assert Structure(shared()) != Structure(shared())
