"""C&W beside Foolbox 3's: `python -m benchmarks.carlini_wagner --data-dir D`.

Prints, on MNIST with 5 searches of 200 steps, the time of our attack over that of its gradient
evaluations alone, as `benchmarks.loop` does; the time of Foolbox's; and the mean L2 distance of
both. It needs `pip install foolbox`.
"""

import argparse

import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from baselines.env1 import correctly_classified
from benchmarks.loop import gradient_seconds, report, timed
from models import datasets, zoo

SEARCHES, STEPS, LEARNING_RATE, INITIAL_C = 5, 200, 0.01, 0.02  # as Env1 crafts
BATCH = 128  # that `gradient_seconds` times


def main(argv=None):
    """Run both attacks on the same inputs, and print how they compare.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.carlini_wagner")
    parser.add_argument("--data-dir", help="folder that holds mnist.npz")
    parser.add_argument("--inputs", type=int, default=100, help="benign inputs (100)")
    parser.add_argument("--repeats", type=int, default=1, help="of our measurement (1)")
    arguments = parser.parse_args(argv)
    theirs = foolbox_attack()
    model = zoo.load("mnist")
    data = datasets.load("mnist", arguments.data_dir)
    x = correctly_classified(model, data, max(arguments.inputs, BATCH))
    classifier = a2d.Classifier(model)
    gradient = gradient_seconds(classifier, x)
    x = x[: arguments.inputs]
    results = []

    def ours(x):
        results.append(our_attack()(classifier, x))
        return results[-1].gradient_evaluations.sum()

    print(report("Ours", ours, x, gradient, arguments.repeats), flush=True)
    elapsed, (adversarial, fooled) = timed(lambda: theirs(classifier, x))
    print(f"Foolbox: {elapsed:.1f} s", flush=True)
    turned = results[-1].success
    both = turned & fooled
    our_l2, their_l2 = (l2(x, y)[both].mean() for y in (results[-1].adversarial, adversarial))
    print(
        f"of {len(x)} inputs ours turns {turned.sum()}, Foolbox's {fooled.sum()}; mean L2 of the "
        f"{both.sum()} that both turn: ours {our_l2:.4f}, Foolbox's {their_l2:.4f}, "
        f"ratio {our_l2 / their_l2:.4f}"
    )


def our_attack():
    """Make our attack.

    Returns:
        The `a2d_keras.CarliniWagner`.
    """
    return a2d.CarliniWagner(
        binary_search_steps=SEARCHES,
        search_iterations=STEPS,
        learning_rate=LEARNING_RATE,
        initial_c=INITIAL_C,
    )


def foolbox_attack():
    """Make Foolbox's attack, with the settings of ours.

    Returns:
        A function of a `Classifier` and inputs that it gets right, to the adversarial examples
        and whether each is one, bool, (n,).

    Raises:
        SystemExit: If Foolbox is not installed.
    """
    try:
        import foolbox
    except ImportError as error:
        raise SystemExit(
            f"This benchmark compares with Foolbox 3; run `pip install foolbox`. Received: {error}"
        ) from error
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=SEARCHES, steps=STEPS, stepsize=LEARNING_RATE, initial_const=INITIAL_C
    )

    def run(classifier, x):
        model = foolbox.TensorFlowModel(classifier.logits, bounds=classifier.bounds)
        labels = tf.argmax(classifier.logits(x), axis=-1)
        _, adversarial, success = attack(model, tf.constant(x), labels, epsilons=None)
        return adversarial.numpy(), success.numpy()

    return run


def l2(x, y):
    """Measure how far inputs were moved.

    Args:
        x: Inputs, (n, ...).
        y: What became of them, likewise.

    Returns:
        L2 distances, (n,).
    """
    return np.sqrt(((y - x).reshape(len(x), -1) ** 2).sum(axis=-1))


if __name__ == "__main__":
    main()
