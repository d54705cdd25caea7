"""The time that bfloat16 saves, its effect on AUROC, and what `precision="auto"` picks."""

import numpy as np
from sklearn.metrics import roc_auc_score

import a2d_keras as a2d
from a2d_keras.precision import native_bfloat16
from benchmarks.rows import Row, exactly, spread
from benchmarks.timing import in_turns
from models import imagenet

_PRECISIONS = ("float32", "bfloat16")
_TURNS = 7  # of whole verdicts, which are short
_PHOTOGRAPHS = 64  # to adapt on, and to judge


def rows(bench):
    """Compare bfloat16 with float32, for BIM_d costs and for the default verdict.

    Both are compared by time, and by AUROC on Env1's attacks. MobileNet at 224×224 is compared by
    the time of the default verdict.

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
        kinds = {kind: subject.craft(kind, subject.benign) for kind in subject.settings.attacks}
        yield from _verdicts(subject.name, subject.model, subject.held_out, subject.benign, kinds)
    x, _ = imagenet.photographs(bench.data_dir, 2 * _PHOTOGRAPHS)
    model = imagenet.load("mobilenet", bench.data_dir)
    halves = x[:_PHOTOGRAPHS], x[_PHOTOGRAPHS:]
    yield from _verdicts("MobileNet, 224×224", model, *halves, {}, slots=32)


def _verdicts(name, model, held_out, benign, kinds, slots=128):
    """Compare default verdicts on benign inputs, and on others by the kind of attack."""
    guards = []
    for precision in (*_PRECISIONS, "auto"):
        guards.append(a2d.guard(a2d.Classifier(model, precision=precision), slots=slots))
        guards[-1].adapt(held_out, verbose=0)
    runs = [lambda each=each: each.predict(benign, verbose=0) for each in guards]
    for run in runs:
        run()  # compile
    (float32, bfloat16, auto), found = in_turns(runs, _TURNS)
    what = f"{name}, default verdicts, benign"
    equal = np.mean(found[0]["is_adversarial"] == found[1]["is_adversarial"])
    yield Row(
        f"time in bfloat16 over that in float32: {what}",
        spread(bfloat16 / float32),
        at_most=0.75,
        note=f"{len(benign)} inputs in {np.median(float32):.2f} s in float32, prediction "
        f"included; {equal:.1%} of the verdicts are equal",
    )
    yield Row(
        f'time with precision="auto" over that in float32: {what}',
        spread(auto / float32),
        at_most=1.05,
        note=f"it picked {guards[2].detector.classifier.precision}",
    )
    for kind, x in kinds.items():
        scores = [each.predict(x, verbose=0)["score"] for each in guards[:2]]
        both = zip(found, scores, strict=False)
        yield _moved(f"{name}, default on {kind}", [_auroc(b["score"], s) for b, s in both], len(x))


def _moved(what, aurocs, count):
    exact, low = aurocs
    return Row(
        f"AUROC in bfloat16 away from that in float32: {what}",
        exactly(abs(low - exact)),
        at_most=0.003,
        note=f"{low:.4f} and {exact:.4f}, on {count} benign inputs and their counterparts",
    )


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
            _auroc(-on_benign.cost, -run().cost)
            for on_benign, run in zip(results, attack(x), strict=True)
        ]
        yield _moved(f"{subject.name}, BIM_d on {kind}", aurocs, len(benign))


def _auroc(benign, adversarial):
    labels = np.arange(len(benign) + len(adversarial)) >= len(benign)
    return roc_auc_score(labels, np.append(benign, adversarial))
