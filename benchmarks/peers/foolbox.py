"""Foolbox 3: BIM in L-inf, the boundary attack, and the attack of Carlini and Wagner."""

import foolbox
import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from benchmarks.peers import common

_WALK = 1000  # steps of the boundary attack, each of one proposal
_SEARCHES, _STEPS, _RATE, _INITIAL_C = 3, 100, 0.02, 0.02


def rows(bench):
    """Compare Foolbox with ours on the first data set.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    subject, sizes = bench.first_subject(), bench.sizes
    model = _wrapped(common.logits_model(subject.model))
    x, few = subject.benign[: sizes.peers], subject.benign[: sizes.few]

    def craft(attack):
        method = _bim(attack, attack.max_iterations)
        return lambda x, labels: _run(model, method, x, labels, attack.eps)[0]

    def step(x, labels):
        return _run(model, _bim(subject.bim, 1), x, labels, subject.bim.eps)

    def walk(model, x, labels):
        tf.random.set_seed(0)
        method = foolbox.attacks.BoundaryAttack(steps=_WALK)
        return _run(_wrapped(model), method, x, labels, None)[0]

    yield common.crafting_compared("Foolbox", craft, subject, x, sizes.repeats)
    yield from common.steps_compared("Foolbox, step by step", step, subject, x, sizes.repeats)
    what = f"Foolbox, boundary attack of {_WALK} steps"
    yield common.walks_compared(what, walk, subject, sizes.few, sizes.repeats)
    yield _carlini_wagner_compared(model, subject, few, sizes.repeats)


def _wrapped(model):
    return foolbox.TensorFlowModel(model, bounds=(0, 1))


def _bim(attack, steps):
    return foolbox.attacks.LinfBasicIterativeAttack(
        abs_stepsize=attack.eps_iter, steps=steps, random_start=False
    )


def _run(model, method, x, labels, eps):
    labels = tf.constant(labels)
    _, adversarial, success = method(model, tf.convert_to_tensor(x), labels, epsilons=eps)
    return adversarial.numpy(), success.numpy()


def _carlini_wagner_compared(model, subject, x, repeats):
    method = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=_SEARCHES, steps=_STEPS, stepsize=_RATE, initial_const=_INITIAL_C
    )
    attack = a2d.CarliniWagner(
        binary_search_steps=_SEARCHES,
        search_iterations=_STEPS,
        learning_rate=_RATE,
        initial_c=_INITIAL_C,
    )
    labels = subject.labels(x)

    def theirs():
        return _run(model, method, x, labels, None)[0]

    def ours():
        return attack(subject.classifier, x, slots="auto").adversarial

    def agreement(*both):
        turned = np.all([subject.labels(each) != labels for each in both], axis=0)
        norms = [
            np.linalg.norm((each - x)[turned].reshape(turned.sum(), -1), axis=1) for each in both
        ]
        means = f"theirs {norms[0].mean():.3f}, ours {norms[1].mean():.3f}"
        return f"both turn {turned.sum()}, mean L2 distance: {means}"

    theirs(), ours()  # compile
    what = f"Foolbox, C&W, {_SEARCHES} searches of {_STEPS} steps"
    on = f"{len(x)} inputs of {subject.name}"
    return common.compared(f"{what}, {on}", theirs, ours, repeats, agreement)
