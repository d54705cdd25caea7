"""The commands: each a function of the arguments, named as on the command line."""

import argparse
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from a2d_keras import attacks, inputs, progress, statistics
from a2d_keras.attacks.base import Attack
from a2d_keras.classifier import Classifier
from a2d_keras.cli.arrays import labels
from a2d_keras.cli.explaining import explain as explain
from a2d_keras.cli.outcome import ERROR, SOME_FLAGGED, Outcome
from a2d_keras.cli.readers import Reader, read
from a2d_keras.cli.reasons import describe_steps, learned, predictions
from a2d_keras.cli.saved_models import load, load_classifier, load_guarded
from a2d_keras.cli.table import BATCH_SIZE, Check, Read, read_all, write_table
from a2d_keras.detection import rules
from a2d_keras.detection.guarded_model import GuardedModel, guard
from a2d_keras.files import replace_atomically
from a2d_keras.redteam import ADVERSARIES, evaluation, report
from a2d_keras.redteam.defence import predict
from a2d_keras.statistics.attack_cost import AttackCost, column_names
from a2d_keras.statistics.base import Statistic


def adapt(arguments: argparse.Namespace) -> Outcome:
    """Guard a classifier, adapt it to benign inputs, and save it.

    Args:
        arguments: The parsed arguments.

    Returns:
        The `Outcome`.
    """
    guarded = guard(
        load_classifier(arguments.model),
        bounds=arguments.bounds,
        statistics=_chosen_statistics(arguments),
        rule=_chosen_rule(arguments),
        false_positive_rate=arguments.false_positive_rate,
        on_invalid=arguments.on_invalid,
    )
    with replace_atomically(arguments.out) as part:
        benign, found = _dataset(arguments.inputs, arguments, guarded)
        adversarial = None
        if arguments.adversarial:
            adversarial, _ = _dataset(arguments.adversarial, arguments, guarded)
        guarded.adapt(benign, adversarial, verbose=int(progress.visible()))
        guarded.save(part)
    clause, summary, details = learned(guarded.detector)
    max_queries = guarded.max_queries_per_input
    return Outcome(
        f"Adapted on {found.inputs} benign inputs: {clause}, which takes at most "
        f"{max_queries:,} queries.{found.clause} Written to {arguments.out}.{details}",
        {
            "benign_inputs": found.inputs,
            **summary,
            "false_positive_rate": guarded.detector.false_positive_rate,
            "max_queries_per_input": max_queries,
            **found.summary,
            "output": arguments.out,
        },
    )


def detect(arguments: argparse.Namespace) -> Outcome:
    """Judge inputs, and write a row for each.

    Args:
        arguments: The parsed arguments.

    Returns:
        The `Outcome`.
    """
    guarded = load_guarded(arguments.model)
    detector = guarded.detector
    if arguments.false_positive_rate is not None:
        detector.promise(arguments.false_positive_rate)
    reader = _reader(arguments.inputs, arguments, detector.classifier)
    judged: list[dict[str, np.ndarray]] = []

    def judge(images: np.ndarray) -> Iterable[Sequence[Any]]:
        columns = detector.columns(guarded.predict(images, verbose=0))
        judged.append(columns)
        return zip(predictions(detector.classifier, images), *columns.values(), strict=True)

    header = ["input", "prediction", *detector.column_names]
    found = write_table(arguments.out, header, reader, detector.check, judge)
    flagged = sum(int(columns["is_adversarial"].sum()) for columns in judged)
    return Outcome(
        f"{flagged} of {found.inputs} inputs flagged as adversarial.{found.clause} "
        f"Written to {arguments.out}.",
        {
            "inputs": found.inputs,
            "flagged": flagged,
            "false_positive_rate": detector.false_positive_rate,
            "max_queries_per_input": guarded.max_queries_per_input,
            **found.summary,
            "output": arguments.out,
        },
        _status(flagged, found),
    )


def cost(arguments: argparse.Namespace) -> Outcome:
    """Measure what attacks cost, and write a row for each input.

    Args:
        arguments: The parsed arguments.

    Returns:
        The `Outcome`.
    """
    classifier, chosen = _attacked(arguments)
    names, costs = column_names(chosen), []
    reader = _reader(arguments.inputs, arguments, classifier)

    def measure(images: np.ndarray) -> Iterable[Sequence[Any]]:
        results = [attack(classifier, images) for attack in chosen]
        costs.append([result.cost for result in results])
        columns = [values for result in results for values in (result.cost, result.success)]
        return zip(predictions(classifier, images), *columns, strict=True)

    columns = [f"{what}_{name}" for name in names for what in ("cost", "success")]
    header = ["input", "prediction", *columns]
    found = write_table(arguments.out, header, reader, _checker(classifier), measure)
    medians = np.median(np.concatenate(costs, axis=1), axis=1).tolist()
    median = dict(zip(names, medians, strict=True))
    return Outcome(
        f"{found.inputs} inputs, with a median cost of {describe_steps(chosen, medians)}."
        f"{found.clause} Written to {arguments.out}.",
        {"inputs": found.inputs, "median_cost": median, **found.summary, "output": arguments.out},
        _status(0, found),
    )


def redteam(arguments: argparse.Namespace) -> Outcome:
    """Attack a guarded model, and write a report.

    Args:
        arguments: The parsed arguments.

    Returns:
        The `Outcome`.
    """
    report.require_extras()
    guarded = load_guarded(arguments.model)
    classifier = guarded.detector.classifier
    reader = _reader(arguments.inputs, arguments, classifier)
    x = reader.first(arguments.limit)
    y = labels(arguments.inputs, arguments.labels)
    truth = "given" if y is not None else "the classifier's own predictions"
    result = evaluation.redteam(
        guarded,
        x,
        predict(classifier, x).argmax(axis=-1) if y is None else y[: len(x)],
        attacks=[call.made(ADVERSARIES) for call in arguments.attack or ()] or "standard",
        eps=arguments.eps,
        folder=pathlib.Path(arguments.out) / "parts",
    )
    result.about.update({"classes": truth, "guard": arguments.model, "data": arguments.inputs})
    result.save(arguments.out)
    worst = result.rows()[-1]
    through, count = round(worst["success"] * len(result.y)), len(result.y)
    return Outcome(
        f"{through} of {count} inputs got through the guard within {arguments.eps:.3g} of the "
        f"input range. Written to {arguments.out}.",
        {
            "inputs": count,
            "got_through": through,
            **{name: worst[name] for name in ("fooled", "SR@5", "SR@50")},
            "weak_checks": [check.name for check in result.checks if not check.passed],
            "output": arguments.out,
        },
        SOME_FLAGGED if through else 0,
    )


def _chosen_statistics(arguments: argparse.Namespace) -> list[Statistic] | None:
    """Make the statistics that are named; None leaves the choice to `guard`."""
    named = [call.made(vars(statistics)) for call in arguments.statistic or ()]
    attacked = [call.made(vars(attacks)) for call in arguments.attack or ()]
    if arguments.exact and not attacked:
        attacked = [None]
    return [*named, *(AttackCost(a, exact=arguments.exact) for a in attacked)] or None


def _chosen_rule(arguments: argparse.Namespace) -> rules.Rule | str | None:
    if arguments.rule is None:
        return "knn" if arguments.adversarial else None
    rule: rules.Rule = arguments.rule.made(rules.RULES)
    return rule


def _attacked(arguments: argparse.Namespace) -> tuple[Classifier, Sequence[Attack]]:
    """Take classifier and attacks from a guarded model, or from the command line."""
    model = load(arguments.model)
    named = [call.made(vars(attacks)) for call in arguments.attack or ()] or [attacks.BIM()]
    if not isinstance(model, GuardedModel):
        return Classifier(model, bounds=arguments.bounds or (0.0, 1.0)), named
    if arguments.bounds:
        raise ValueError(
            "A guarded model has its own bounds; leave --bounds out. "
            f"Received: {arguments.bounds} for {model.detector.classifier.bounds}"
        )
    known = () if arguments.attack else model.detector.attacks
    return model.detector.classifier, known or named


def _checker(classifier: Classifier) -> Check:
    return lambda images: inputs.checked(images, classifier)


def _reader(source: str, arguments: argparse.Namespace, classifier: Classifier) -> Reader:
    options = {"resize": arguments.resize, "strict": arguments.strict}
    return read(source, classifier, arguments.key, **options)


def _dataset(
    source: str, arguments: argparse.Namespace, guarded: GuardedModel
) -> tuple[tf.data.Dataset, Read]:
    """Read inputs to learn from; one that cannot be read is an error."""
    classifier = guarded.detector.classifier
    reader = _reader(source, arguments, classifier)
    found = read_all(reader, _checker(classifier))
    for error in found.errors.values():
        raise ValueError(error)
    return reader.dataset(BATCH_SIZE, found.inputs), found


def _status(flagged: int, found: Read) -> int:
    """Return the exit status: an input without a verdict does not count as benign."""
    return SOME_FLAGGED if flagged else ERROR if found.errors else 0
