"""The commands: each a function of the arguments, named as on the command line."""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras import attacks, inputs
from a2d_keras.attacks.base import Attack
from a2d_keras.classifier import Classifier
from a2d_keras.cli.readers import Reader, channel_axis, read
from a2d_keras.cli.saved_models import load, load_classifier, load_guarded
from a2d_keras.cli.table import BATCH_SIZE, Check, count_checked, verbosity, write_table
from a2d_keras.detection.guarded_model import GuardedModel, guard
from a2d_keras.detection.layer import DetectorLayer
from a2d_keras.detection.rules import ZScore
from a2d_keras.files import replace_atomically
from a2d_keras.statistics.attack_cost import AttackCost, column_names

_SOME_FLAGGED = 3


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
    chosen = _make_attacks(arguments.attack) if arguments.attack else [None]
    guarded = guard(
        load_classifier(arguments.model),
        bounds=arguments.bounds,
        statistics=[AttackCost(attack, exact=arguments.exact) for attack in chosen],
        rule="knn" if arguments.adversarial else "zscore",
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
    detector, max_queries = guarded.detector, guarded.max_queries_per_input
    names, steps = column_names(detector.attacks), detector.thresholds.tolist()
    return Outcome(
        f"Adapted on {count} benign inputs: {_describe_steps(detector.attacks, steps)} settle a "
        f"verdict, which takes at most {max_queries:,} queries. Written to {arguments.out}.",
        {
            "benign_inputs": count,
            "attacks": [repr(attack) for attack in detector.attacks],
            "thresholds": dict(zip(names, steps, strict=True)),
            "false_positive_rate": detector.false_positive_rate,
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
    reader = read(arguments.inputs, detector.classifier, arguments.key)
    flagged = 0

    def judge(images: np.ndarray) -> Iterable[Sequence[Any]]:
        nonlocal flagged
        out = guarded.predict(images, verbose=0)
        flagged += int(out["is_adversarial"].sum())
        columns = [out["is_adversarial"], out["score"], out["exact"], *out["cost"].T]
        return zip(_predictions(detector.classifier, images), *columns, strict=True)

    costs = [f"cost_{name}" for name in column_names(detector.attacks)]
    header = ["input", "prediction", "is_adversarial", "score", "exact", *costs]
    count = write_table(arguments.out, header, reader, detector.check, judge)
    return Outcome(
        f"{flagged} of {count} inputs flagged as adversarial. Written to {arguments.out}.",
        {
            "inputs": count,
            "flagged": flagged,
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
        return zip(_predictions(classifier, images), *columns, strict=True)

    columns = [f"{what}_{name}" for name in names for what in ("cost", "success")]
    header = ["input", "prediction", *columns]
    count = write_table(arguments.out, header, reader, _checker(classifier), measure)
    medians = np.median(np.concatenate(costs, axis=1), axis=1).tolist()
    median = dict(zip(names, medians, strict=True))
    return Outcome(
        f"{count} inputs, with a median cost of {_describe_steps(chosen, medians)}. "
        f"Written to {arguments.out}.",
        {"inputs": count, "median_cost": median, "output": arguments.out},
    )


def explain(arguments: argparse.Namespace) -> Outcome:
    """Draw what the detector found for one image, and what that cost.

    Args:
        arguments: The parsed arguments.

    Returns:
        The `Outcome`.
    """
    draw = _picture().draw
    guarded = load_guarded(arguments.model)
    detector, classifier = guarded.detector, guarded.detector.classifier
    with replace_atomically(arguments.out) as part:
        name, image = _single(read(arguments.inputs, classifier), classifier)
        flagged = bool(guarded.predict(image, verbose=0)["is_adversarial"][0])
        prediction, findings = _predictions(classifier, image)[0], _findings(detector, image)
        draw(part, name, _drawable(image, classifier), prediction, flagged, findings)
    names, costs = column_names(detector.attacks), [finding.cost for finding in findings]
    return Outcome(
        f"{name} is {'flagged as adversarial' if flagged else 'not flagged'}: it is classified as "
        f"{prediction}, and costs {_describe_steps(detector.attacks, costs)}. "
        f"Written to {arguments.out}.",
        {
            "input": name,
            "prediction": prediction,
            "is_adversarial": flagged,
            "cost": dict(zip(names, costs, strict=True)),
            "output": arguments.out,
        },
        _SOME_FLAGGED if flagged else 0,
    )


def _findings(detector: DetectorLayer, image: np.ndarray) -> list[Any]:
    """Run every attack of the detector on one image, to its end."""
    classifier, findings = detector.classifier, []
    learned = zip(detector.attacks, detector.benign_costs, detector.thresholds, strict=True)
    for attack, benign_costs, threshold in learned:
        result = attack(classifier, image)
        finding = _picture().Finding(
            attack=type(attack).__name__,
            adversarial=_drawable(result.adversarial, classifier),
            prediction=_predictions(classifier, result.adversarial)[0],
            success=bool(result.success[0]),
            cost=int(result.cost[0]),
            benign_costs=benign_costs,
            threshold=int(threshold) if isinstance(detector.rule, ZScore) else None,
        )
        findings.append(finding)
    return findings


def _drawable(images: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Scale one image from the bounds to [0, 1], and put its channels last."""
    low, _ = classifier.bounds
    image = (images[0] - low) / classifier.range
    return np.moveaxis(image, channel_axis(classifier), -1) if image.ndim == 3 else image


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
    return model.detector.classifier, named if arguments.attack else model.detector.attacks


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


def _describe_steps(chosen: Sequence[Attack], steps: Iterable[float]) -> str:
    """Describe a number of steps of each attack, for people."""
    return ", ".join(
        f"{count:g} {'step' if count == 1 else 'steps'} of {type(attack).__name__}"
        for attack, count in zip(chosen, steps, strict=True)
    )


def _predictions(classifier: Classifier, images: np.ndarray) -> list[int | None]:
    """Predict classes, or None for inputs that are not finite."""
    classes = np.argmax(classifier.logits(tf.constant(images)), axis=-1).tolist()
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=-1)
    return [label if valid else None for label, valid in zip(classes, finite, strict=True)]


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
