import keras
import numpy as np
import pytest

from a2d_keras import DBA, AttackCost, Classifier, HopSkipJump, guard

ENDLESS = 1e-9  # a distance that no input reaches


@pytest.fixture(scope="module")
def few(benign):
    return benign[:12]


def lengths(result, x, norm):
    return np.linalg.norm((result.adversarial - x).reshape(len(x), -1), ord=norm, axis=1)


def labels_of(classifier, x):
    return classifier.logits(x).numpy().argmax(-1)


@pytest.fixture(scope="module")
def result(classifier, few):
    return HopSkipJump(distance=ENDLESS, max_iterations=150)(classifier, few)


def test_needs_labels_alone(labels_only, classifier, few):
    attack = HopSkipJump(distance=0.03, max_iterations=200)
    result, expected = attack(labels_only, few), attack(classifier, few)
    np.testing.assert_array_equal(result.cost, expected.cost)
    np.testing.assert_array_equal(result.gradient_evaluations, 0)


def test_ends_misclassified_and_just_within_the_distance(classifier, few):
    for norm, limit in ((2, 0.02), (np.inf, 0.3)):
        result = HopSkipJump(norm=norm, distance=limit)(classifier, few)
        assert result.success.all()
        assert (labels_of(classifier, result.adversarial) != labels_of(classifier, few)).all()
        reached = lengths(result, few, norm) ** (2 if norm == 2 else 1) / (64 if norm == 2 else 1)
        assert (reached < limit).all()
        assert np.median(reached) > 0.7 * limit


def test_counts_every_query(labels_only, few):
    """The classifier of labels counts the images it is asked about."""
    seen = []

    @keras.saving.register_keras_serializable(package="tests_hop_skip_jump")
    class Count(keras.layers.Layer):
        def call(self, x):
            keras.ops.cast(x, "float32")
            import tensorflow as tf

            tf.py_function(lambda n: seen.append(int(n)), [tf.shape(x)[0]], [])
            return x

    inputs = keras.Input((8, 8, 1))
    counting = Classifier(keras.Model(inputs, labels_only.model(Count()(inputs))), from_logits=True)
    result = HopSkipJump(max_iterations=30, distance=ENDLESS)(counting, few, slots=12)
    assert sum(seen) >= result.queries.sum()
    np.testing.assert_array_equal(result.cost, 30)
