"""Arguments out of range are refused in one sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import a2d_keras as a2d
from tests import tiny


@pytest.fixture(scope="module")
def guarded():
    return tiny.shared("statistics")


class TestParameters:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"slots": 0}, '`slots` must be a whole number, at least 1, or "auto". Received: 0'),
            ({"slots": 1.5}, "`slots` must be .* Received: 1.5"),
            ({"false_positive_rate": "a"}, "between 0 and 1. Received: a"),
            ({"false_positive_rate": np.nan}, "between 0 and 1. Received: nan"),
            ({"rule": []}, r"`rule` must be .* Received: \[\]"),
            ({"attacks": a2d.BIM()}, "`attacks` must hold .* Received: BIM"),
            ({"bounds": (1e10, 1e10 + 1)}, "two increasing finite numbers. Received: "),
            ({"bounds": (-3e38, 3e38)}, "two increasing finite numbers. Received: "),
            ({"model": None}, "must be a `keras.Model` of Keras 3. Received: "),
        ],
        ids=str,
    )
    def test_of_a_guarded_model(self, options, message):
        with pytest.raises(ValueError, match=message):
            a2d.guard(**{"model": tiny.classifier(), **options})

    @pytest.mark.parametrize("name", ["slots", "budget"])
    @pytest.mark.parametrize("value", [0, -1, 1.5, "a"])
    def test_of_a_call(self, guarded, name, value):
        with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {value}"):
            tiny.ATTACKS[0](guarded.detector.classifier, tiny.X, **{name: value})

    @pytest.mark.parametrize("size", [0, -1, 1.5])
    def test_of_predict(self, guarded, size):
        with pytest.raises(ValueError, match=f"`batch_size` must be .* Received: {size}"):
            guarded.predict(tiny.X, batch_size=size, verbose=0)

    @given(st.one_of(st.floats(), st.integers(), st.text(max_size=2), st.none()))
    @settings(max_examples=40, deadline=None)
    def test_of_attacks(self, value):
        number = isinstance(value, (int, float))
        if number and float(np.finfo("float32").tiny) <= value < np.inf:
            assert a2d.BIM(eps=value).eps == value
        else:
            with pytest.raises(ValueError, match="`eps` must be a positive number, .* Received: "):
                a2d.BIM(eps=value)

    @given(st.tuples(st.floats(), st.floats()))
    @settings(max_examples=40, deadline=None)
    def test_bounds(self, guarded, bounds):
        low, high = bounds
        largest = float(np.finfo("float32").max)
        if (
            -largest <= low < high <= largest
            and high - low <= largest
            and np.float32(low) < np.float32(high)
        ):
            assert a2d.Classifier(guarded.detector.model, bounds=bounds).bounds == bounds
        else:
            with pytest.raises(ValueError, match="two increasing finite numbers. Received: "):
                a2d.Classifier(guarded.detector.model, bounds=bounds)
