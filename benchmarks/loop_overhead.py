"""The time that the slot loop adds to its passes through the classifier."""

import a2d_keras as a2d
from benchmarks.rows import Row
from benchmarks.timing import gradient_seconds, query_seconds, share_of_passes, warm_up

_WALK = a2d.DBA(max_iterations=50)
_BATCH = 32
_BATCHED = 20 * _BATCH  # batches are independent, so more of them add nothing


def rows(bench):
    """Compare the time of costs and verdicts with the time of their passes in the best batch.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    for subject in bench.subjects():
        loop = _Loop(subject, bench.sizes.repeats)
        few = subject.benign[: bench.sizes.few]
        yield loop.row("BIM_d costs", loop.gradients(subject.bim), subject.mixed, at_most=1.08)
        yield loop.row("guarded.predict(x)", loop.predict(), subject.mixed, at_most=1.15)
        batched, what = subject.mixed[:_BATCHED], f"guarded.predict(x, batch_size={_BATCH})"
        yield loop.row(what, loop.predict(_BATCH), batched)
        jsma = loop.gradients(subject.settings.defences["JSMA_d"])
        yield loop.row("JSMA_d costs", jsma, subject.benign, at_most=1.2)
        yield loop.row("DBA costs, 50 steps at most", loop.queries(_WALK), few, "queries")


class _Loop:
    """Runs on one classifier. Each run takes inputs and returns the number of its passes."""

    def __init__(self, subject, repeats):
        self.subject = subject
        self.repeats = repeats
        self.guarded = subject.guarded()
        self.units = {
            "gradients": gradient_seconds(subject.classifier, subject.benign),
            "queries": query_seconds(subject.classifier, subject.benign),
        }

    def gradients(self, attack):
        return lambda x: sum(r.gradient_evaluations.sum() for r in self._counts(attack, x))

    def queries(self, attack):
        return lambda x: sum(r.queries.sum() for r in self._counts(attack, x))

    def predict(self, batch_size=None):
        def run(x):
            cost = self.guarded.predict(x, batch_size=batch_size, verbose=0)["cost"]
            return (cost + 1).sum()

        return run

    def row(self, what, run, x, passes="gradients", at_most=None):
        """Time a run against its passes."""
        warm_up(run, x)
        ratio, count, seconds = share_of_passes(lambda: run(x), self.units[passes], self.repeats)
        return Row(
            f"loop time over that of its {passes} alone: {self.subject.name}, {what}",
            ratio,
            at_most=at_most,
            note=f"{count:,} {passes} of {len(x):,} inputs in {seconds:.1f} s",
        )

    def _counts(self, attack, x):
        return attack.in_batches(self.subject.classifier, x, slots="auto", images=False)
