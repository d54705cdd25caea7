"""The commands: each a function of the arguments, named as on the command line."""

import argparse
import itertools
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras import attacks, inputs
from a2d_keras.attacks.base import Attack
from a2d_keras.classifier import Classifier
from a2d_keras.cli.readers import Reader, channel_axis, labels, read
from a2d_keras.cli.reasons import describe_steps, drawable, explained, learned, predictions
from a2d_keras.cli.saved_models import load, load_classifier, load_guarded
from a2d_keras.cli.table import BATCH_SIZE, Check, count_checked, verbosity, write_table
from a2d_keras.detection.guarded_model import GuardedModel, guard
from a2d_keras.files import replace_atomically
from a2d_keras.redteam import evaluation, report
from a2d_keras.redteam.defence import predict
from a2d_keras.statistics.attack_cost import AttackCost, column_names

_SOME_FLAGGED = 3  # or some inputs got through


class Outcome(NamedTuple):
    """The result of a command.

    Attributes:
        sentence: For people.
        summary: The same for programs, to be printed as JSON.
        status: The exit status.
    """

    sentence: str
    summary: dict[str, Any]
    status: int = 0


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
        statistics=_chosen_costs(arguments),
        rule=arguments.rule or ("knn" if arguments.adversarial else None),
        false_positive_rate=arguments.false_positive_rate,
        on_invalid=arguments.on_invalid,
    )
    with replace_atomically(arguments.out) as part:
        benign, count = _dataset(arguments.inputs, guarded, arguments.key)
        adversarial = None
        if arguments.adversarial:
            adversarial, _ = _dataset(arguments.adversarial, guarded, arguments.key)
        guarded.adapt(benign, adversarial, verbose=verbosity())
        guarded.save(part)
    clause, summary, details = learned(guarded.detector)
    max_queries = guarded.max_queries_per_input
    return Outcome(
        f"Adapted on {count} benign inputs: {clause}, which takes at most {max_queries:,} queries. "
        f"Written to {arguments.out}.{details}",
        {
            "benign_inputs": count,
            **summary,
            "false_positive_rate": guarded.detector.false_positive_rate,
            "max_queries_per_input": max_queries,
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
    reader = read(arguments.inputs, detector.classifier, arguments.key)
    judged: list[dict[str, np.ndarray]] = []

    def judge(images: np.ndarray) -> Iterable[Sequence[Any]]:
        columns = detector.columns(guarded.predict(images, verbose=0))
        judged.append(columns)
        return zip(predictions(detector.classifier, images), *columns.values(), strict=True)

    header = ["input", "prediction", *detector.column_names]
    count = write_table(arguments.out, header, reader, detector.check, judge)
    flagged = sum(int(columns["is_adversarial"].sum()) for columns in judged)
    return Outcome(
        f"{flagged} of {count} inputs flagged as adversarial. Written to {arguments.out}.",
        {
            "inputs": count,
            "flagged": flagged,
            "false_positive_rate": detector.false_positive_rate,
            "max_queries_per_input": guarded.max_queries_per_input,
            "output": arguments.out,
        },
        _SOME_FLAGGED if flagged else 0,
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
    reader = read(arguments.inputs, classifier, arguments.key)

    def measure(images: np.ndarray) -> Iterable[Sequence[Any]]:
        results = [attack(classifier, images) for attack in chosen]
        costs.append([result.cost for result in results])
        columns = [values for result in results for values in (result.cost, result.success)]
        return zip(predictions(classifier, images), *columns, strict=True)

    columns = [f"{what}_{name}" for name in names for what in ("cost", "success")]
    header = ["input", "prediction", *columns]
    count = write_table(arguments.out, header, reader, _checker(classifier), measure)
    medians = np.median(np.concatenate(costs, axis=1), axis=1).tolist()
    median = dict(zip(names, medians, strict=True))
    return Outcome(
        f"{count} inputs, with a median cost of {describe_steps(chosen, medians)}. "
        f"Written to {arguments.out}.",
        {"inputs": count, "median_cost": median, "output": arguments.out},
    )


def explain(arguments: argparse.Namespace) -> Outcome:
    """Draw why one image got its verdict.

    Args:
        arguments: The parsed arguments.

    Returns:
        The `Outcome`.
    """
    picture = _picture()
    guarded = load_guarded(arguments.model)
    detector, classifier = guarded.detector, guarded.detector.classifier
    with replace_atomically(arguments.out) as part:
        name, image = _single(read(arguments.inputs, classifier), classifier)
        verdict = guarded.predict(image, verbose=0)
        flagged, prediction = bool(verdict["is_adversarial"][0]), predictions(classifier, image)[0]
        account, draw = explained(detector, image, verdict)
        draw(part, picture.Subject(name, drawable(image, classifier), prediction, flagged))
    return Outcome(
        f"{name} is {'flagged as adversarial' if flagged else 'not flagged'}: it is classified as "
        f"{prediction}, and {account.clause}. Written to {arguments.out}.",
        {
            "input": name,
            "prediction": prediction,
            "is_adversarial": flagged,
            **account.summary,
            "output": arguments.out,
        },
        _SOME_FLAGGED if flagged else 0,
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
    reader = read(arguments.inputs, classifier, arguments.key)
    x = reader.first(arguments.limit)
    y = labels(arguments.inputs, arguments.labels)
    truth = "given" if y is not None else "the classifier's own predictions"
    result = evaluation.redteam(
        guarded,
        x,
        predict(classifier, x).argmax(axis=-1) if y is None else y[: len(x)],
        attacks=arguments.attack or "standard",
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
        _SOME_FLAGGED if through else 0,
    )


def _chosen_costs(arguments: argparse.Namespace) -> list[AttackCost] | None:
    """Make the statistics of named attacks; None leaves the choice to `guard`."""
    if not arguments.attack and not arguments.exact:
        return None
    chosen = _make_attacks(arguments.attack) if arguments.attack else [None]
    return [AttackCost(attack, exact=arguments.exact) for attack in chosen]


def _attacked(arguments: argparse.Namespace) -> tuple[Classifier, Sequence[Attack]]:
    """Take classifier and attacks from a guarded model, or from the command line."""
    model, named = load(arguments.model), _make_attacks(arguments.attack or ["BIM"])
    if not isinstance(model, GuardedModel):
        return Classifier(model, bounds=arguments.bounds or (0.0, 1.0)), named
    if arguments.bounds:
        raise ValueError(
            "A guarded model has its own bounds; leave --bounds out. "
            f"Received: {arguments.bounds} for {model.detector.classifier.bounds}"
        )
    known = () if arguments.attack else model.detector.attacks
    return model.detector.classifier, known or named


def _make_attacks(names: Sequence[str]) -> list[Any]:
    """Make attacks with their default parameters."""
    made = []
    for name in names:
        try:
            made.append(getattr(attacks, name)())
        except TypeError as error:
            raise ValueError(
                "--attack takes attacks whose parameters all have defaults. "
                f"Received: {name}: {error}"
            ) from error
    return made


def _checker(classifier: Classifier) -> Check:
    return lambda images: inputs.checked(images, classifier)


def _dataset(source: str, guarded: GuardedModel, key: str | None) -> tuple[tf.data.Dataset, int]:
    classifier = guarded.detector.classifier
    reader = read(source, classifier, key)
    return reader.dataset(BATCH_SIZE), count_checked(reader, _checker(classifier))


def _single(reader: Reader, classifier: Classifier) -> tuple[str, np.ndarray]:
    """Read the only image of a source, as a batch."""
    batches = list(itertools.islice(reader.batches(2), 1))
    names, images = batches[0] if batches else ((), np.zeros(0))
    shape = images.shape[1:]
    drawable = len(shape) == 2 or (len(shape) == 3 and shape[channel_axis(classifier)] in (1, 3, 4))
    if len(names) != 1 or not drawable:
        raise ValueError(f"`explain` takes one image. Received: {reader.source}")
    return names[0], images


def _picture() -> Any:
    try:
        from a2d_keras.cli import picture
    except ImportError as error:
        raise ValueError(
            f"`explain` draws with matplotlib: `pip install a2d-keras[plot]`. Received: {error}"
        ) from error
    return picture
