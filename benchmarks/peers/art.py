"""ART: `BasicIterativeMethod`, `SaliencyMapMethod` and `BoundaryAttack`."""

import keras
import numpy as np
from art.attacks.evasion import BasicIterativeMethod, BoundaryAttack, SaliencyMapMethod
from art.estimators.classification import TensorFlowV2Classifier

import a2d_keras as a2d
from benchmarks.peers import common
from benchmarks.timing import best_batch

_SALIENCY = {"theta": 1.0, "gamma": 0.1}
_WALK = 100  # iterations of the boundary attack, each of 20 samples or more


def rows(bench):
    """Compare ART with ours on the first data set.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    subject, sizes = bench.first_subject(), bench.sizes
    wrapped = estimator(common.logits_model(subject.model), subject)
    x, few = subject.benign[: sizes.peers], subject.benign[: sizes.few]

    def craft(attack):
        return lambda x, labels: _bim(wrapped, attack, len(x), attack.max_iterations)(x, labels)

    def step(x, labels):
        x = _bim(wrapped, subject.bim, len(x), 1)(x, labels)
        return x, wrapped.predict(x, batch_size=len(x)).argmax(axis=-1) != labels

    def walk(model, x, labels):
        np.random.seed(0)  # noqa: NPY002 (ART uses the global generator)
        walked = estimator(model, subject)
        attack = BoundaryAttack(walked, targeted=False, max_iter=_WALK, verbose=False)
        return attack.generate(x, labels)

    yield common.crafting_compared("ART", craft, subject, x, sizes.repeats)
    yield from common.steps_compared("ART, step by step", step, subject, x, sizes.repeats)
    yield _saliency_compared(wrapped, subject, few, sizes.repeats)
    what = f"ART, boundary attack of {_WALK} iterations"
    yield common.walks_compared(what, walk, subject, 2 * sizes.single, sizes.repeats)


def estimator(model, subject):
    """Wrap a model for ART.

    Args:
        model: A model that returns logits.
        subject: The `benchmarks.subjects.Subject`.

    Returns:
        The `TensorFlowV2Classifier`.
    """
    return TensorFlowV2Classifier(
        model=model,
        nb_classes=10,
        input_shape=subject.model.input_shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )


def _bim(wrapped, attack, size, steps):
    return BasicIterativeMethod(
        wrapped,
        eps=attack.eps,
        eps_step=attack.eps_iter,
        max_iter=steps,
        batch_size=size,
        verbose=False,
    ).generate


def _saliency_compared(wrapped, subject, x, repeats):
    targets = (subject.labels(x) + 1) % 10
    attack = a2d.PairJSMA(targeted=True, **_SALIENCY)

    def generate(x, size):
        method = SaliencyMapMethod(wrapped, batch_size=size, verbose=False, **_SALIENCY)
        return method.generate(x, targets[: len(x)])

    def ours():
        return attack(subject.classifier, x, targets=targets, slots="auto").adversarial

    def reached(adversarial):
        return np.mean(subject.labels(adversarial) == targets)

    size = best_batch(lambda x: generate(x, len(x)), x)
    ours()  # compile
    return common.compared(
        f"ART, SaliencyMapMethod, {len(x)} inputs of {subject.name}",
        lambda: generate(x, size),
        ours,
        repeats,
        lambda theirs, ours: (
            f"batches of {size}; targets reached by theirs {reached(theirs):.0%}, "
            f"by ours {reached(ours):.0%}"
        ),
    )
