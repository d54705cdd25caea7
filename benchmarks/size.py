"""The price of a verdict against the size of the input, up to photographs on MobileNet."""

import pathlib
from typing import NamedTuple

import numpy as np

import a2d_keras as a2d
from benchmarks import imagenet, plots
from benchmarks.rows import Measured, Row, exactly, spread
from benchmarks.timing import in_turns, warm_up

# A step that suits MobileNet: the paper's changes half of its predictions at once.
_BIM_OF_PHOTOGRAPHS = a2d.BIM(eps_iter=2e-5, max_iterations=100)
_SLOTS = 32  # photographs under attack at once


class _Price(NamedTuple):
    """What a verdict takes of an input of so many pixels: mean gradients, and seconds."""

    pixels: int
    gradients: float
    seconds: Measured


def rows(bench):
    """Count the gradients of a verdict, take its time, and draw both.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    prices, repeats = [], bench.sizes.repeats
    for subject in bench.subjects():
        prices.append(_price(subject.guarded(), subject.benign[: 2 * bench.sizes.few], repeats))
        yield from _rows(subject.name, prices[-1])
    prices.append(_price(*_photographs(bench), repeats))
    yield from _rows("MobileNet", prices[-1])
    _draw(bench.out / "scaling_size.png", prices)


def _photographs(bench):
    """Guard MobileNet, and take photographs that it gets right, to judge."""
    adapt, judge = bench.sizes.photographs
    data_dir = pathlib.Path(bench.data_dir or ".")
    x, labels = imagenet.load(data_dir, 2 * (adapt + judge))
    model = imagenet.mobilenet(data_dir)
    x = x[model.predict(x, verbose=0).argmax(axis=-1) == labels]
    guarded = a2d.guard(model, bounds=(-1, 1), attacks=[_BIM_OF_PHOTOGRAPHS], slots=_SLOTS)
    guarded.adapt(x[:adapt], verbose=0)
    return guarded, x[adapt : adapt + judge]


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
    each = 1e3 * price.seconds.median / price.gradients
    yield Row(f"gradients of a verdict: {what}", exactly(price.gradients))
    yield Row(f"seconds of a verdict: {what}", price.seconds, note=f"{each:.2f} ms a gradient")


def _draw(path, prices):
    pixels = [price.pixels for price in prices]
    panels = {
        "gradients of a verdict": [price.gradients for price in prices],
        "seconds of a verdict": [price.seconds.median for price in prices],
        "milliseconds of a gradient": [1e3 * p.seconds.median / p.gradients for p in prices],
    }
    plots.side_by_side(
        path,
        [
            {
                "title": "on benign inputs",
                "x": "pixels of an input",
                "y": what,
                "curves": {what: list(zip(pixels, values, strict=True))},
            }
            for what, values in panels.items()
        ],
    )
