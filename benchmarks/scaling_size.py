"""The price of a verdict against the size of the input, up to photographs on MobileNet."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from benchmarks import scaling_plots
from benchmarks.rows import Measured, Row, exactly, spread
from benchmarks.timing import in_turns, warm_up
from models import imagenet

# A step that suits MobileNet: the paper's changes half of its predictions at once.
_BIM_OF_PHOTOGRAPHS = a2d.BIM(eps_iter=2e-5, max_iterations=100)
_SLOTS = 32  # photographs under attack at once
_SIDES = (32, 64, 128, 224)  # from MobileNet's smallest size to the one it was trained on


class _Price(NamedTuple):
    """The price of a verdict for one input size: mean gradients, and seconds."""

    pixels: int
    gradients: float
    seconds: Measured


def rows(bench):
    """Count the gradients of a verdict, measure its time, and draw both.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    prices, repeats = {}, bench.sizes.repeats
    for name, guarded, x in _classifiers(bench):
        price = _price(guarded, x, repeats)
        prices.setdefault(name, []).append(price)
        yield from _rows(name, price)
    _draw(bench.out / "scaling_size.png", prices)


def _classifiers(bench):
    """Yield name, guarded classifier and inputs to judge; MobileNet once for each size."""
    for subject in bench.subjects():
        yield subject.name, subject.guarded(), subject.benign[: 2 * bench.sizes.few]
    data_dir, (adapt, judge) = bench.data_dir, bench.sizes.photographs
    x, labels = imagenet.photographs(data_dir, 2 * (adapt + judge))
    right = imagenet.load("mobilenet", data_dir).predict(x, verbose=0).argmax(axis=-1) == labels
    for side in _SIDES:
        shrunk = tf.image.resize(x[right], (side, side), antialias=True).numpy().clip(0, 1)
        model = imagenet.load("mobilenet", data_dir, side)
        guarded = a2d.guard(model, attacks=[_BIM_OF_PHOTOGRAPHS], slots=_SLOTS)
        guarded.adapt(shrunk[:adapt], verbose=0)
        yield "MobileNet", guarded, shrunk[adapt : adapt + judge]


def _price(guarded, x, repeats):
    def judge(x):
        return guarded.predict(x, verbose=0)

    warm_up(judge, x)
    (seconds,), (out,) = in_turns([lambda: judge(x)], repeats)
    pixels = int(np.prod(x.shape[1:3]))
    return _Price(pixels, (out["cost"] + 1).mean(), spread(seconds / len(x)))


def _rows(name, price):
    side = round(price.pixels**0.5)
    what = f"{name}, {side}×{side}, benign, BIM_d"
    note = f"{_milliseconds(price):.2f} ms a gradient"
    yield Row(f"gradients of a verdict: {what}", exactly(price.gradients))
    yield Row(f"seconds of a verdict: {what}", price.seconds, note=note)


def _milliseconds(price):
    """Return the time of a gradient, as if a verdict took nothing else."""
    return 1e3 * price.seconds.median / price.gradients


def _draw(path, prices):
    values = {
        "gradients of a verdict": lambda price: price.gradients,
        "seconds of a verdict": lambda price: price.seconds.median,
        "milliseconds of a gradient": _milliseconds,
    }
    scaling_plots.side_by_side(
        path,
        [
            {
                "title": what,
                "x": "pixels of an input",
                "y": "mean of benign inputs",
                "curves": {
                    name: [(price.pixels, value(price)) for price in each]
                    for name, each in prices.items()
                },
            }
            for what, value in values.items()
        ],
    )
