"""The time that bfloat16 saves, and its effect on AUROC."""

import numpy as np
from sklearn.metrics import roc_auc_score

import a2d_keras as a2d
from a2d_keras.precision import native_bfloat16
from benchmarks.rows import Row, exactly, spread
from benchmarks.timing import in_turns

_PRECISIONS = ("float32", "bfloat16")


def rows(bench):
    """Compare BIM_d costs in bfloat16 with those in float32: time, and AUROC on Env1's attacks.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    if not native_bfloat16():
        yield Row(
            "time in bfloat16 over that in float32",
            None,
            at_most=0.75,
            note="this processor has no native bfloat16, which would be slower than float32",
        )
        return
    for subject in bench.subjects():
        yield from _compared(subject, 2 * bench.sizes.few, bench.sizes.repeats)


def _compared(subject, count, repeats):
    classifiers = [a2d.Classifier(subject.model, precision=each) for each in _PRECISIONS]
    benign = subject.benign[:count]
    kinds = {kind: subject.craft(kind, benign) for kind in subject.settings.attacks}

    def attack(x):
        """Return, for each precision, a function that measures the costs of inputs."""
        return [lambda each=each: subject.bim(each, x, slots="auto") for each in classifiers]

    for run in attack(benign[:2]):
        run()  # compile
    (float32, bfloat16), results = in_turns(attack(benign), repeats)
    gradients = [result.gradient_evaluations.mean() for result in results]
    equal = np.mean(results[0].cost == results[1].cost)
    yield Row(
        f"time in bfloat16 over that in float32: {subject.name}, BIM_d costs, benign",
        spread(bfloat16 / float32),
        at_most=0.75,
        note=f"by {' and '.join(sorted(native_bfloat16()))}; {len(benign)} inputs; "
        f"{gradients[1]:.1f} gradients an input in bfloat16, "
        f"{gradients[0]:.1f} in float32; {equal:.0%} of the costs are equal",
    )
    for kind, x in kinds.items():
        aurocs = [
            _auroc(on_benign.cost, run().cost)
            for on_benign, run in zip(results, attack(x), strict=True)
        ]
        yield Row(
            f"AUROC in bfloat16 away from that in float32: {subject.name}, BIM_d on {kind}",
            exactly(abs(aurocs[1] - aurocs[0])),
            at_most=0.003,
            note=f"{aurocs[1]:.4f} and {aurocs[0]:.4f}, on {len(benign)} benign inputs and their "
            f"{kind} counterparts",
        )


def _auroc(benign, adversarial):
    labels = np.arange(len(benign) + len(adversarial)) >= len(benign)
    return roc_auc_score(labels, -np.append(benign, adversarial))
