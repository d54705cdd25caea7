"""The price of a verdict, in predictions."""

import numpy as np

import a2d_keras as a2d
from benchmarks.rows import Row, spread
from benchmarks.timing import gradient_seconds, in_turns, query_seconds, share_of_passes, warm_up
from models import imagenet

_BATCH = 128  # of both sides
_PHOTOGRAPHS = 64  # to adapt on, and to judge
_BATCHES = (8, 16, 32, 64)  # of photographs


def rows(bench):
    """Compare the time of guarded predictions with that of bare ones.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    for subject in bench.subjects():
        yield from _of_classifier(subject, bench.sizes.repeats)
    yield from _of_photographs(bench)


def _of_photographs(bench):
    """Compare default verdicts of MobileNet with their passes."""
    x, _ = imagenet.photographs(bench.data_dir, 2 * _PHOTOGRAPHS)
    classifier = a2d.Classifier(imagenet.load("mobilenet", bench.data_dir))
    guarded = _adapted(classifier, x[:_PHOTOGRAPHS], slots=32)
    benign = x[_PHOTOGRAPHS:]
    units = [each(classifier, benign, _BATCHES) for each in (gradient_seconds, query_seconds)]
    repeats = bench.sizes.repeats
    yield from _over_passes("MobileNet", guarded, benign, units, repeats, {None: 1.1})


def _of_classifier(subject, repeats):
    name, classifier, benign = subject.name, subject.classifier, subject.benign
    distance = _adapted(classifier, subject.held_out, statistics=[a2d.BoundaryDistance()])
    warm_up(lambda x: distance.predict(x, verbose=0), benign)

    def judge():
        distance.predict(benign, verbose=0)
        return len(benign)

    judge()
    gradient = gradient_seconds(classifier, benign)
    prediction = query_seconds(classifier, benign)
    ratio, _, seconds = share_of_passes(judge, lambda: gradient() + prediction(), repeats)
    what = "guard of BoundaryDistance, time over that of a prediction and a gradient"
    note = f"{len(benign):,} inputs in {seconds:.1f} s"
    yield Row(f"{what}: {name}", ratio, at_most=1.3, note=note)
    yield _in_predictions(f"a gradient and its forward pass: {name}", gradient, prediction, repeats)
    default = _adapted(classifier, subject.held_out)
    units = gradient, prediction
    yield from _over_passes(name, default, benign, units, repeats, {None: 1.1, 32: 1.25})
    for guarded, what, target in ((distance, "BoundaryDistance", None), (default, "default", 15)):
        yield _row(
            guarded, f"guard, {what}, time over model.predict: {name}", benign, repeats, target
        )


def _over_passes(name, guarded, x, units, repeats, targets):
    """Compare default verdicts with their passes alone, by the batch; None is the default."""
    gradient, prediction = units
    views = guarded.max_queries_per_input - 1 - _dropped(guarded)

    def passes():
        return gradient() + views * prediction()

    for batch, target in targets.items():

        def judge(batch=batch):
            guarded.predict(x, batch_size=batch, verbose=0)
            return len(x)

        judge()
        ratio, _, seconds = share_of_passes(judge, passes, repeats)
        size = guarded.detector.batch_size if batch is None else batch
        yield Row(
            f"guard, default, time over that of its passes: {name}, batches of {size}",
            ratio,
            at_most=target,
            note=f"a gradient and {views} predictions each in the best batch; {len(x):,} inputs "
            f"in {seconds:.2f} s",
        )


def _dropped(guarded):
    """Count the views that `adapt` has dropped, which take no pass."""
    kept = [each.state["kept"] for each in guarded.detector.learned if "kept" in each.state]
    return sum(int(np.sum(each == 0)) for each in kept)


def _adapted(classifier, benign, **options):
    guarded = a2d.guard(classifier, **options)
    guarded.adapt(benign, verbose=0)
    return guarded


def _in_predictions(what, gradient, prediction, repeats):
    ratios = [gradient() / prediction() for _ in range(repeats)]
    return Row(f"time over that of a prediction, best batches: {what}", spread(ratios))


def _row(guarded, what, x, repeats, target):
    model = guarded.detector.model
    sides = [
        lambda: guarded.predict(x, batch_size=_BATCH, verbose=0),
        lambda: model.predict(x, batch_size=_BATCH, verbose=0),
    ]
    for side in sides:
        side()  # compile
    (ours, bare), _ = in_turns(sides, repeats)
    note = f"{len(x):,} inputs in {ours[-1]:.2f} s, batches of {_BATCH}"
    return Row(what, spread(ours / bare), at_most=target, note=note)
