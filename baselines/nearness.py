"""Compare cheap statistics with BIM_d on photographs: `python -m baselines.nearness`.

The margin and the distance to the boundary stand beside the exact cost of BIM, whose step is the
one that `adapt` would choose on other photographs. Only examples that fool count. The secant takes
a forward pass after its gradient.
"""

import argparse
import functools

import numpy as np
import pandas as pd
import tensorflow as tf

from a2d_keras import BIM
from a2d_keras.statistics import BoundaryDistance, Margin
from a2d_keras.statistics.step_size import choose_step
from a2d_keras.statistics.view import View
from baselines import photographs
from baselines.comparison.protocols import auroc
from baselines.digests import digest

STATISTICS = {
    "margin": Margin(),
    "distance, 1 gradient": BoundaryDistance(),
    "distance, secant": BoundaryDistance(secant=True),
}
_BATCH, _RATE = 20, 0.05


def main(argv=None):
    """Measure every statistic on every kind of photograph, and print a table.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m baselines.nearness", description=__doc__)
    photographs.add_arguments(parser)
    arguments = parser.parse_args(argv)
    work, benign, held_out = photographs.start(arguments)
    bim = bim_as_adapted(work, held_out)
    frames = {"benign": measure(work, bim, "benign", benign)}
    for attack in arguments.attacks:
        x, fooled = work.craft(attack, photographs.few_enough(attack, benign))
        frames[attack] = measure(work, bim, attack, x)[fooled]
    print(table(frames).to_markdown(floatfmt=".4f"))


def bim_as_adapted(work, held_out):
    """Choose the step of BIM_d as `adapt` does, or read the choice that is kept.

    Args:
        work: The `baselines.photographs.Work`.
        held_out: Benign photographs to choose it on.

    Returns:
        The `a2d_keras.BIM`.
    """

    def choose():
        return {"eps_iter": [choose_step(work.classifier, held_out, _RATE, _BATCH).eps_iter]}

    origin = {"model": work.classifier.weights_hash(), "held out": digest(held_out)}
    (eps_iter,) = work.checkpoints.get("step of BIM_d", origin, choose)["eps_iter"]
    return BIM(eps_iter=float(eps_iter))


def measure(work, bim, kind, x):
    """Measure every statistic on photographs.

    Args:
        work: The `baselines.photographs.Work`.
        bim: The attack whose exact cost stands beside the statistics.
        kind: The name of the photographs.
        x: The photographs, float32, (n, height, width, 3).

    Returns:
        A `pandas.DataFrame` with n rows, and a column for each statistic, for "BIM_d", and for
        the "gradients" that it took.
    """
    cost, gradients = work.costs(f"{kind} BIM_d", bim, x)
    compute = _compiled(work.classifier)
    batches = [compute(part) for part in np.split(x, range(_BATCH, len(x), _BATCH))]
    found = {name: np.concatenate([batch[name] for batch in batches]) for name in STATISTICS}
    return pd.DataFrame({**found, "BIM_d": cost, "gradients": gradients})


def table(frames):
    """Compute the AUROC of each statistic against each attack, and the gradients that they take.

    Args:
        frames: A dict from the kind of photograph, of which the first is benign, to what `measure`
            returned.

    Returns:
        A `pandas.DataFrame`: a row for each attack, and one for the gradients of a benign
        photograph; a column for each statistic.
    """
    (_, benign), *others = frames.items()
    rows = {
        kind: {name: auroc(-benign[name], -frame[name])["auroc"] for name in [*STATISTICS, "BIM_d"]}
        for kind, frame in others
    }
    gradients = {name: int(each.needs_gradient) for name, each in STATISTICS.items()}
    rows["gradients, benign"] = {**gradients, "BIM_d": benign["gradients"].mean()}
    return pd.DataFrame.from_dict(rows, orient="index")


@functools.lru_cache(maxsize=1)
def _compiled(classifier):
    """Compile all statistics into one function, in which they share the pass over the input."""

    @tf.function(input_signature=[tf.TensorSpec((None, *classifier.input_shape))], autograph=False)
    def compute(batch):
        view = View.of(classifier, batch)
        return {name: each.measure(view, {}) for name, each in STATISTICS.items()}

    return compute


if __name__ == "__main__":
    main()
