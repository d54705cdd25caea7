import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from a2d_keras import BIM, FGSM, Classifier
from a2d_keras.attacks.substitute import Transfer, train_substitute
from models import zoo


def labels_of(classifier, x):
    return classifier.logits(x).numpy().argmax(-1)


@pytest.fixture(scope="module")
def known(digits):
    """Digits of the attacker. The attacked digits are among the first 300."""
    return digits.x_test[400:500]


@pytest.fixture(scope="module")
def substitute(labels_only, known):
    """Trained on labels only: the target has no gradient, and its scores are zeros and ones."""
    return train_substitute(labels_only, known)


@pytest.mark.slow
def test_substitute_agrees_on_other_inputs(substitute, labels_only, digits):
    x = digits.x_test[:300]
    assert np.mean(labels_of(substitute, x) == labels_of(labels_only, x)) > 0.8


@pytest.mark.parametrize("target", ["classifier", "labels_only"])
def test_fgsm_transfers(substitute, benign, target, request):
    target = request.getfixturevalue(target)
    result = Transfer(substitute=substitute, attack=FGSM(eps=0.3))(target, benign)
    noise = 0.3 * np.random.default_rng(0).choice([-1, 1], benign.shape)
    noisy = np.clip(benign + noise, 0, 1).astype("float32")
    label = labels_of(target, benign)
    assert result.success.mean() > 0.6
    assert np.mean(labels_of(target, noisy) != label) < 0.4
    np.testing.assert_array_equal(result.success, labels_of(target, result.adversarial) != label)
    through = FGSM(eps=0.3)(substitute, benign)
    np.testing.assert_array_equal(result.adversarial, through.adversarial)
    np.testing.assert_array_equal(result.cost, 1)
    np.testing.assert_array_equal(result.queries, 2)
    np.testing.assert_array_equal(result.gradient_evaluations, 0)


@pytest.mark.slow
def test_same_seed_same_weights_whatever_the_global_one(labels_only, known):
    def weights(seed, around):
        keras.utils.set_random_seed(around)
        small = train_substitute(labels_only, known[:40], rounds=0, epochs=1, seed=seed)
        return small.model.get_weights()

    one, same, other = weights(0, 1), weights(0, 2), weights(1, 1)
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(one[0], other[0])


class Remembering(keras.Sequential):
    """A model that records its training inputs, and its weights before training."""

    def fit(self, dataset, **kwargs):
        x, y = (np.concatenate(column) for column in zip(*dataset, strict=True))
        self.seen = [*getattr(self, "seen", []), (x, y)]
        self.before = [*getattr(self, "before", []), self.get_weights()]
        return super().fit(dataset, **kwargs)


def small_model(shape=(8, 8, 1), classes=10, kind=keras.Sequential):
    layers = keras.layers
    model = kind([keras.Input(shape), layers.Flatten(), layers.Dense(classes, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.mark.slow
def test_augmentation_is_jacobian_based(labels_only, known):
    model = small_model(kind=Remembering)
    given = train_substitute(labels_only, known, model, rounds=2, epochs=3, step=0.07)
    assert given.model is model
    assert [len(x) for x, _ in model.seen] == [300, 600, 1200]
    for x, y in model.seen:
        np.testing.assert_array_equal(y, labels_of(labels_only, x))
    # In a linear model, the gradient of a logit is a column of the kernel.
    kernel = model.before[1][0]
    slope = kernel[:, labels_of(labels_only, known)].T.reshape(known.shape)
    copies = np.clip(known + 0.07 * np.sign(slope), 0, 1)
    expected = np.unique(np.concatenate([known, copies]).reshape(200, -1), axis=0)
    seen = np.unique(model.seen[1][0].reshape(600, -1), axis=0)
    np.testing.assert_allclose(seen, expected, atol=1e-6)


@pytest.mark.slow
def test_dataset_of_inputs(labels_only, known):
    known = known[:30]
    dataset = tf.data.Dataset.from_tensor_slices((known, np.zeros(30))).batch(7)
    one, same = (
        train_substitute(labels_only, x, rounds=0, epochs=1).model.get_weights()
        for x in (known, dataset)
    )
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def wide(model):
    """The digits classifier, on inputs from -1 to 3."""
    inputs = keras.Input((8, 8, 1))
    return Classifier(keras.Model(inputs, model((inputs + 1) / 4)), bounds=(-1.0, 3.0))


@pytest.mark.slow
def test_other_bounds_scale(classifier, wide, known, benign):
    results = []
    for target, scale in ((classifier, lambda x: x), (wide, lambda x: 4 * x - 1)):
        substitute = train_substitute(target, scale(known), rounds=1, epochs=5)
        results.append(Transfer(substitute=substitute)(target, scale(benign)))
    plain, scaled = results
    assert np.mean(plain.success == scaled.success) >= 0.95
    assert np.mean(np.abs((scaled.adversarial + 1) / 4 - plain.adversarial) < 1e-4) >= 0.95
    assert scaled.adversarial.min() >= -1
    assert scaled.adversarial.max() <= 3


@pytest.mark.slow
def test_targeted(substitute, classifier, benign):
    targets = (labels_of(classifier, benign) + 1) % 10
    attack = Transfer(substitute=substitute, attack=FGSM(eps=0.5, targeted=True))
    assert attack.targeted
    result = attack(classifier, benign, targets=targets)
    reached = labels_of(classifier, result.adversarial)
    np.testing.assert_array_equal(result.success, reached == targets)
    assert result.success.mean() > 0.3
    np.testing.assert_array_equal(result.cost, 1)
    np.testing.assert_array_equal(result.queries, 1)
    with pytest.raises(ValueError, match="A targeted attack needs `targets`"):
        attack(classifier, benign)


@pytest.mark.slow
def test_already_at_the_target(substitute, classifier, benign):
    both = labels_of(classifier, benign) == labels_of(substitute, benign)
    attack = Transfer(substitute=substitute, attack=BIM(targeted=True))
    x = benign[both]
    result = attack(classifier, x, targets=labels_of(classifier, x))
    assert result.success.all()
    np.testing.assert_array_equal(result.cost, 1)


@pytest.mark.slow
def test_attack_is_a_value_that_keras_serializes(substitute, classifier, benign):
    attack = Transfer(substitute=substitute, attack=BIM(eps_iter=0.02, max_iterations=20))
    same = Transfer(substitute=substitute, attack=BIM(eps_iter=0.02, max_iterations=20))
    assert attack == same
    assert hash(attack) == hash(same)
    assert attack != Transfer(substitute=substitute)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack))
    assert isinstance(hash(restored), int)
    assert restored.attack == attack.attack
    assert restored.substitute.bounds == substitute.bounds
    ours, theirs = attack(classifier, benign[:5]), restored(classifier, benign[:5])
    for before, after in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rounds", -1), ("rounds", 1.5), ("epochs", 0), ("batch_size", 0), ("seed", -1)],
)
def test_refuses_other_counts(labels_only, known, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number.*Received: {value}"):
        train_substitute(labels_only, known, **{name: value})


@pytest.mark.parametrize("value", [0, -0.1, np.nan, np.inf, "0.1", None])
def test_refuses_other_steps(labels_only, known, value):
    with pytest.raises(ValueError, match="`step` must be a positive number.*Received: "):
        train_substitute(labels_only, known, step=value)


def test_refuses_what_does_not_fit(labels_only, substitute, known, wide, benign):
    with pytest.raises(ValueError, match="`x` must hold inputs to learn from. Received: "):
        train_substitute(labels_only, known[:0])
    with pytest.raises(ValueError, match="`model` must be compiled.*Received: 'digits'"):
        train_substitute(labels_only, known, zoo.build("digits"))
    for model in (small_model((4, 4, 1)), small_model(classes=9)):
        with pytest.raises(ValueError, match="A substitute must have the input shape.*Received: "):
            train_substitute(labels_only, known, model)
    with pytest.raises(ValueError, match="A substitute must have .*bounds.*Received: "):
        Transfer(substitute=substitute)(wide, benign)
    with pytest.raises(ValueError, match="`substitute` must be of the type Classifier. Received: "):
        Transfer(substitute=substitute.model)
    with pytest.raises(ValueError, match="`attack` must be of the type Attack. Received: "):
        Transfer(substitute=substitute, attack="fgsm")


@pytest.mark.slow
def test_features_of_other_ranges(model, known, benign):
    """A substitute learns in the ranges of the classifier's features, and is saved with them."""
    low = np.resize(np.float32([-3, 0, 20]), (8, 8, 1))
    width = np.resize(np.float32([1, 64, 0.5, 8]), (8, 8, 1))
    inputs = keras.Input((8, 8, 1))
    target = Classifier(
        keras.Model(inputs, model((inputs - low) / width)), bounds=(low, low + width)
    )
    substitute = train_substitute(target, low + width * known, rounds=1, epochs=5)
    attack = Transfer(substitute=substitute)
    result = attack(target, low + width * benign)
    assert result.success.mean() > 0.3
    assert (result.adversarial >= low).all()
    assert (result.adversarial <= low + width).all()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(attack)))
    restored = keras.saving.deserialize_keras_object(config)
    found = restored(target, low + width * benign)
    np.testing.assert_array_equal(found.adversarial, result.adversarial)
    other = Classifier(target.model, bounds=(low, low + 2 * width))
    with pytest.raises(ValueError, match="A substitute must have .*bounds.*Received: "):
        attack(other, low + width * benign)
