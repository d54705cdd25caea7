"""Guard MobileNet on ImageNet photographs: `python -m benchmarks.imagenet --data-dir D`.

D holds the photographs and MobileNet's weights; see `models.imagenet`. As in Env1, only photographs
that the classifier gets right count as benign, unless `--all` is given.
"""

import argparse

import numpy as np
from sklearn.metrics import roc_auc_score

import a2d_keras as a2d
from benchmarks.rows import spread
from benchmarks.timing import in_turns, timed
from models import imagenet

_SLOTS = 32
_REPEATS = 3
ATTACKS = {
    "BIM-a, step 0.0001": a2d.BIM(eps_iter=0.0001, max_iterations=50),
    "FGSM, step 0.016": a2d.FGSM(eps=0.016),
    "PGD 8/255": a2d.BIM(eps=8 / 255, eps_iter=2 / 255, max_iterations=40, stop_at_success=False),
}


def main(argv=None):
    """Adapt on some photographs, judge others and their adversarial counterparts.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imagenet")
    parser.add_argument("--data-dir", help="folder of the photographs and the weights")
    parser.add_argument("--adapt", type=int, default=300, help="photographs to adapt on (300)")
    parser.add_argument("--score", type=int, default=100, help="photographs to judge (100)")
    parser.add_argument("--rule", default="fisher", help='"zscore" judges by attack cost (fisher)')
    parser.add_argument("--all", action="store_true", help="also those that are misclassified")
    arguments = parser.parse_args(argv)
    model = imagenet.load("mobilenet", arguments.data_dir)
    photographs, labels = imagenet.photographs(arguments.data_dir)
    if not arguments.all:
        photographs = photographs[model.predict(photographs, verbose=0).argmax(-1) == labels]
    photographs = photographs[: arguments.adapt + arguments.score]

    guarded = a2d.guard(model, rule=arguments.rule, slots=_SLOTS)
    seconds, _ = timed(lambda: guarded.adapt(photographs[: arguments.adapt]))
    print(f"adapted on {arguments.adapt} in {seconds:.0f} s", flush=True)
    benign = photographs[arguments.adapt :]
    scores = judge(guarded, "benign", benign)
    for name, attack in ATTACKS.items():
        crafted = attack(guarded.detector.classifier, benign, slots=_SLOTS)
        others = judge(guarded, name, crafted.adversarial[crafted.success])
        labels = np.arange(len(scores) + len(others)) >= len(scores)
        auroc = roc_auc_score(labels, np.append(scores, others))
        print(f"{name}: AUROC {auroc:.4f}, fooled {crafted.success.mean():.0%}", flush=True)
    print(f"time over model.predict: {price(guarded, benign)}")


def judge(guarded, name, x):
    """Judge inputs, and print how many are flagged.

    Args:
        guarded: The `GuardedModel`.
        name: The name of the inputs.
        x: Inputs, float32, (n, 224, 224, 3).

    Returns:
        Their scores, float32, (n,).
    """
    out = guarded.predict(x, verbose=0)
    print(f"{name}: {out['is_adversarial'].mean():.0%} flagged", flush=True)
    return out["score"]


def price(guarded, x):
    """Compare the time of guarded predictions with that of bare ones, in the same batches.

    Args:
        guarded: The `GuardedModel`.
        x: Inputs.

    Returns:
        A `benchmarks.rows.Measured`.
    """
    model = guarded.detector.model
    sides = [
        lambda each=each: each.predict(x, batch_size=_SLOTS, verbose=0) for each in (guarded, model)
    ]
    for side in sides:
        side()  # compile
    (ours, bare), _ = in_turns(sides, _REPEATS)
    return spread(ours / bare)


if __name__ == "__main__":
    main()
