"""A verdict takes fewer gradients than the exact cost, and agrees with it. Counts, not times."""

import numpy as np
import tensorflow as tf

from a2d_keras.detection.rules import RULES, CostRule
from benchmarks.rows import Row, exactly

_TOO_LONG = "cifar10", "DBA_d"  # thousands of queries and 3 seconds for every input
_ADAPT_ENSEMBLE = 40  # a false positive rate of 0.05 needs 37

COST_RULES = [word for word, rule in RULES.items() if issubclass(rule, CostRule)]


def rows(bench):
    """Count the gradients of verdicts, and the verdicts that differ from the full computation.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    for subject in bench.subjects():
        full = _full(subject, [subject.bim], subject.kinds)
        for rule in COST_RULES:
            what = f"{subject.name}, BIM_d, {rule}"
            guarded = subject.guarded(rule=rule)
            yield from _compared(what, guarded, subject.kinds, full, at_most=0.5)
        yield from _ensemble(subject, bench.sizes.few)


def _ensemble(subject, few):
    """Compare the vote of all defences, on fewer inputs, since the boundary attack is slow."""
    defences = subject.settings.defences
    names = [name for name in defences if (subject.name, name) != _TOO_LONG]
    attacks = [defences[name] for name in names]
    kinds = {kind: x[:few] for kind, x in subject.kinds.items()}
    guarded = subject.guarded(subject.held_out[:_ADAPT_ENSEMBLE], attacks=attacks)
    what = f"{subject.name}, {' + '.join(names)}, zscore"
    yield from _compared(what, guarded, kinds, _full(subject, attacks, kinds), at_most=0.4)


def _full(subject, attacks, kinds):
    """Run every attack to its end: a dict from the kind to costs and gradients, (n, attacks)."""
    return {
        kind: np.stack([_counts(attack, subject.classifier, x) for attack in attacks], axis=2)
        for kind, x in kinds.items()
    }


def _counts(attack, classifier, x):
    """Return the costs of an attack, and its gradients, int64, (2, n)."""
    results = attack.in_batches(classifier, x, slots="auto", images=False)
    return np.concatenate([(r.cost, r.gradient_evaluations) for r in results], axis=1)


def _compared(what, guarded, kinds, full, at_most):
    shares, started, differ = {}, {}, 0
    for kind, x in kinds.items():
        out = guarded.predict(x, verbose=0)
        costs, gradients = full[kind]
        flagged, _ = guarded.detector.rule(tf.constant(costs))
        differ += int(np.sum(flagged.numpy() != out["is_adversarial"]))
        started[kind] = (out["cost"] > 0).mean(axis=0)
        shares[kind] = _gradients(out["cost"] > 0, guarded.detector.thresholds, gradients)
    benign, full_cost = shares["benign"]
    others = ", ".join(f"{kind} {ours / theirs:.2f}" for kind, (ours, theirs) in shares.items())
    ran = " / ".join(f"{share:.0%}" for share in started["benign"])
    yield Row(
        f"gradients of a verdict over those of the full cost, benign: {what}",
        exactly(benign / full_cost),
        at_most=at_most,
        note=f"{benign:.1f} of {full_cost:.1f} gradients an input; by kind {others}; "
        f"attacks started on {ran} of the benign inputs",
    )
    counts = " + ".join(f"{len(x)} {kind}" for kind, x in kinds.items())
    yield Row(
        f"verdicts that differ from the full computation's: {what}",
        exactly(differ),
        at_most=0,
        note=f"of {counts} inputs",
    )


def _gradients(started, thresholds, full):
    """Return the mean gradients of a verdict, and of the full costs.

    The attack of a verdict runs like the full one, but ends at its threshold, one pass after the
    last step.
    """
    spent = np.where(started, np.minimum(full, thresholds + 1), 0)
    return spent.sum(axis=1).mean(), full.sum(axis=1).mean()
