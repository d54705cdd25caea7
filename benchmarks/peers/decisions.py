"""Attacks that see labels only: how near each comes with its queries.

`HopSkipJump` and `DBA`, used as attacks, beside ART's and Foolbox's HopSkipJump and boundary
attack, all with their own settings. Every image that a peer asks about counts, also those of its
start, and so do ours.
"""

import functools

import art.attacks.evasion
import foolbox
import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras.attacks.decision_based import AT_ONCE
from benchmarks.peers import common
from benchmarks.peers.art import estimator
from benchmarks.peers.queries import Journal, distance_after, norms, queries_to
from benchmarks.rows import Row, exactly
from benchmarks.scaling_plots import side_by_side

QUERIES = (250, 500, 1000, 2500, 5000, 10_000)
_IMAGES = 10
_HOPS = 28  # iterations of HopSkipJump, for 10,000 queries
_AT_MOST = 1.1  # of a peer's queries
_HOP_SKIP_JUMP = a2d.HopSkipJump(distance=1e-9)
_OURS = {  # each with about the queries of its steps
    "HopSkipJump": (_HOP_SKIP_JUMP, AT_ONCE),
    "DBA": (common.WALK, 2 * common.WALK.proposals),
}


def rows(bench):
    """Compare HopSkipJump with ours on the first data set, and draw all curves.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    subject = bench.first_subject()
    x = common.away_from_noise(subject)[:_IMAGES]
    curves = {f"{name}, ours": _curve(subject, *attack, x) for name, attack in _OURS.items()}
    model = common.logits_model(subject.model)
    for name, run in _peers(subject).items():
        curves[name] = _curve_of_peer(model, run, x, subject.labels(x))
    _draw(bench.out / "decisions.png", subject.name, curves)
    ours = curves["HopSkipJump, ours"]
    for name, theirs in curves.items():
        if not name.endswith("ours"):
            yield _queries_compared(f"{name}, {len(x)} inputs of {subject.name}", theirs, ours)
    for library in ("ART", "Foolbox"):
        yield _timed(library, subject, common.away_from_noise(subject)[: bench.sizes.few], bench)


def _peers(subject):
    """List the peers: functions of a model, inputs and labels that return adversarial inputs."""
    return {
        "HopSkipJump, ART": functools.partial(_art, subject, "HopSkipJump", max_iter=_HOPS),
        "boundary attack, ART": functools.partial(_art, subject, "BoundaryAttack", max_iter=500),
        "HopSkipJump, Foolbox": functools.partial(_foolbox, "HopSkipJumpAttack", steps=_HOPS),
        "boundary attack, Foolbox": functools.partial(_foolbox, "BoundaryAttack", steps=10_000),
    }


def _art(subject, kind, model, x, labels, **settings):
    np.random.seed(0)  # noqa: NPY002 (ART uses the global generator)
    attack = getattr(art.attacks.evasion, kind)
    attack = attack(estimator(model, subject), targeted=False, verbose=False, **settings)
    return attack.generate(x, labels)


def _foolbox(kind, model, x, labels, **settings):
    tf.random.set_seed(0)
    model = foolbox.TensorFlowModel(model, bounds=(0, 1))
    attack = getattr(foolbox.attacks, kind)(**settings)
    return attack(model, tf.constant(x), tf.constant(labels), epsilons=None)[0].numpy()


def _curve(subject, attack, per_step, x):
    """Measure the median distance of ours after some queries: pairs of both."""
    labels, points = subject.labels(x), []
    for queries in QUERIES:
        found = attack(subject.classifier, x, budget=queries // per_step, slots="auto")
        turned = subject.labels(found.adversarial) != labels
        distances = np.where(turned, norms(found.adversarial - x), np.inf)
        points.append((float(np.median(found.queries)), float(np.median(distances))))
    return points


def _curve_of_peer(model, run, x, labels):
    """Measure the median distance of a peer, which attacks one image at a time."""
    distances = []
    for image, label in zip(x[:, None], labels[:, None], strict=True):
        journal = Journal(model, image[0], label[0])
        run(journal, image, label)
        distances.append(journal.nearest(QUERIES))
    return list(zip(QUERIES, np.median(distances, axis=0).tolist(), strict=True))


def _queries_compared(what, theirs, ours):
    """Compare the queries to the distance that a peer reaches with all of its own."""
    queries, goal = theirs[-1]
    needed = queries_to(ours, goal)
    note = "; ".join(
        f"after {q:,} queries {far:.2f}, ours {distance_after(ours, q):.2f}" for q, far in theirs
    )
    return Row(
        f"queries of our HopSkipJump over theirs, to equal L2 distance: {what}",
        exactly(needed / queries) if needed else None,
        at_most=_AT_MOST,
        note=f"median distance {note}" + ("" if needed else "; ours does not come as near"),
    )


def _timed(library, subject, x, bench):
    """Time HopSkipJump of a library against ours, to the distance that the library reaches."""
    run = _peers(subject)[f"HopSkipJump, {library}"]
    what = f"{library}, HopSkipJump of {_HOPS} iterations"
    return common.walks_compared(
        what, run, subject, len(x), bench.sizes.repeats, attack=_HOP_SKIP_JUMP
    )


def _draw(path, name, curves):
    side_by_side(
        path,
        [
            {
                "title": f"Attacks that see labels only, on {name}",
                "x": "queries per input",
                "y": "median L2 distance",
                "curves": curves,
            }
        ],
    )
