"""What the commands of the command line do."""

import argparse
import csv
import itertools
import pathlib
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import attacks, inputs
from a2d_keras.attacks import StepAttack
from a2d_keras.classifier import Classifier
from a2d_keras.cli.readers import Reader, read
from a2d_keras.detection.guarded_model import GuardedModel, guard
from a2d_keras.detection.layer import DetectorLayer
from a2d_keras.files import replace_atomically
from a2d_keras.statistics.attack_cost import AttackCosts

_SOME_FLAGGED = 3
_BATCH = 1024  # inputs in memory


class Outcome(NamedTuple):
    """What a command has to tell.

    Attributes:
        sentence: For people.
        summary: The same for programs, to be JSON.
        status: The exit status.
    """

    sentence: str
    summary: dict[str, Any]
    status: int = 0


def adapt(arguments: argparse.Namespace) -> Outcome:
    """Guard a classifier, adapt it on benign inputs, and save it.

    Args:
        arguments: Those of the command line.

    Returns:
        The `Outcome`.
    """
    model = _load(arguments.model)
    if isinstance(model, GuardedModel):
        raise ValueError(
            "`adapt` takes a classifier that is not guarded yet. "
            f"Received: {arguments.model}, a guarded model"
        )
    guarded = guard(
        model,
        arguments.bounds or (0.0, 1.0),
        _named(arguments.attack) if arguments.attack else None,
        detector="knn" if arguments.adversarial else "zscore",
        false_positive_rate=arguments.false_positive_rate,
        exact=arguments.exact,
        on_invalid=arguments.on_invalid,
    )
    with replace_atomically(arguments.out) as beside:
        benign, count = _dataset(arguments.inputs, guarded, arguments.key)
        adversarial = None
        if arguments.adversarial:
            adversarial, _ = _dataset(arguments.adversarial, guarded, arguments.key)
        guarded.adapt(benign, adversarial, verbose=_verbose())
        guarded.save(beside)
    detector, most = guarded.detector, guarded.max_queries_per_input
    thresholds = dict(zip(_names(detector.attacks), detector.thresholds.tolist(), strict=True))
    settled = _told(detector.attacks, thresholds.values())
    return Outcome(
        f"Adapted on {count} benign inputs: {settled} settle a verdict, which takes at most "
        f"{most:,} queries. Written to {arguments.out}.",
        {
            "benign_inputs": count,
            "attacks": [repr(attack) for attack in detector.attacks],
            "thresholds": thresholds,
            "false_positive_rate": detector.false_positive_rate,
            "max_queries_per_input": most,
            "output": arguments.out,
        },
    )


def detect(arguments: argparse.Namespace) -> Outcome:
    """Judge inputs, and write a row for each.

    Args:
        arguments: Those of the command line.

    Returns:
        The `Outcome`.
    """
    guarded = _load_guarded(arguments.model)
    detector = guarded.detector
    reader = read(arguments.inputs, detector.classifier, arguments.key)
    flagged = 0

    def judge(images: np.ndarray) -> Iterable[Sequence[Any]]:
        nonlocal flagged
        out = guarded.predict(images, verbose=0)
        flagged += int(out["is_adversarial"].sum())
        columns = [out["is_adversarial"], out["score"], out["exact"], *out["cost"].T]
        return zip(_predictions(detector.classifier, images), *columns, strict=True)

    costs = [f"cost_{name}" for name in _names(detector.attacks)]
    header = ["input", "prediction", "is_adversarial", "score", "exact", *costs]
    count = _write(arguments.out, header, reader, detector.check, judge)
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
        arguments: Those of the command line.

    Returns:
        The `Outcome`.
    """
    classifier, chosen = _attacked(arguments)
    names, costs = _names(chosen), []
    reader = read(arguments.inputs, classifier, arguments.key)

    def measure(images: np.ndarray) -> Iterable[Sequence[Any]]:
        results = [attack(classifier, images) for attack in chosen]
        costs.append([result.cost for result in results])
        columns = [values for result in results for values in (result.cost, result.success)]
        return zip(_predictions(classifier, images), *columns, strict=True)

    columns = [f"{what}_{name}" for name in names for what in ("cost", "success")]
    header = ["input", "prediction", *columns]
    count = _write(arguments.out, header, reader, _checker(classifier), measure)
    medians = np.median(np.concatenate(costs, axis=1), axis=1).tolist()
    median = dict(zip(names, medians, strict=True))
    return Outcome(
        f"{count} inputs, with a median cost of {_told(chosen, medians)}. "
        f"Written to {arguments.out}.",
        {"inputs": count, "median_cost": median, "output": arguments.out},
    )


def explain(arguments: argparse.Namespace) -> Outcome:
    """Draw what the defence found for one image, and what that cost.

    Args:
        arguments: Those of the command line.

    Returns:
        The `Outcome`.
    """
    draw = _picture().draw
    guarded = _load_guarded(arguments.model)
    detector, classifier = guarded.detector, guarded.detector.classifier
    with replace_atomically(arguments.out) as beside:
        name, image = _single(read(arguments.inputs, classifier))
        flagged = bool(guarded.predict(image, verbose=0)["is_adversarial"][0])
        prediction, findings = _predictions(classifier, image)[0], _findings(detector, image)
        draw(beside, name, _scaled(image, classifier), prediction, flagged, findings)
    costs = dict(zip(_names(detector.attacks), (found.cost for found in findings), strict=True))
    told = _told(detector.attacks, costs.values())
    return Outcome(
        f"{name} is {'flagged as adversarial' if flagged else 'not flagged'}: it is classified as "
        f"{prediction}, and costs {told}. Written to {arguments.out}.",
        {
            "input": name,
            "prediction": prediction,
            "is_adversarial": flagged,
            "cost": costs,
            "output": arguments.out,
        },
        _SOME_FLAGGED if flagged else 0,
    )


def _findings(detector: DetectorLayer, image: np.ndarray) -> list[Any]:
    """Attack one image to the end, with every attack of the detector."""
    classifier, findings = detector.classifier, []
    judged = zip(detector.attacks, detector.benign_costs, detector.thresholds, strict=True)
    for attack, benign_costs, threshold in judged:
        result = attack(classifier, image)
        finding = _picture().Finding(
            attack=type(attack).__name__,
            adversarial=_scaled(result.adversarial, classifier),
            prediction=_predictions(classifier, result.adversarial)[0],
            success=bool(result.success[0]),
            cost=int(result.cost[0]),
            benign_costs=benign_costs,
            threshold=int(threshold) if detector.detector == "zscore" else None,
        )
        findings.append(finding)
    return findings


def _scaled(images: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Scale one image from the bounds to [0, 1], to be seen."""
    return (images[0] - classifier.bounds[0]) / classifier.range


def _load(path: str) -> keras.Model:
    if not pathlib.Path(path).is_file():
        raise ValueError(f"There is no such model; name a .keras or .h5 file. Received: {path}")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras fails in many ways on what it did not save
        cause = str(error).rpartition("Exception encountered: ")[2]  # it may quote all layers
        raise ValueError(
            f"Keras {keras.__version__} cannot load this model, which must be whole, of Keras's "
            f"own layers, and of no newer Keras. Received: {path}: {textwrap.shorten(cause, 300)}"
        ) from error


def _load_guarded(path: str) -> GuardedModel:
    model = _load(path)
    if not isinstance(model, GuardedModel):
        raise ValueError(
            "A verdict needs a guarded model; make it of this one with `a2d-keras adapt`. "
            f"Received: {path}, {type(model).__name__} {model.name!r}"
        )
    return model


def _attacked(arguments: argparse.Namespace) -> tuple[Classifier, Sequence[StepAttack]]:
    """Take classifier and attacks from a guarded model, or from the command line."""
    model, named = _load(arguments.model), _named(arguments.attack or ["BIM"])
    if not isinstance(model, GuardedModel):
        return Classifier(model, bounds=arguments.bounds or (0.0, 1.0)), named
    if arguments.bounds:
        raise ValueError(
            "A guarded model has its bounds; leave --bounds out. "
            f"Received: {arguments.bounds} for {model.detector.classifier.bounds}"
        )
    return model.detector.classifier, named if arguments.attack else model.detector.attacks


def _named(names: Sequence[str]) -> list[StepAttack]:
    return [getattr(attacks, name)() for name in names]


def _names(chosen: Sequence[StepAttack]) -> list[str]:
    return AttackCosts(None, chosen).get_feature_names_out().tolist()


def _told(chosen: Sequence[StepAttack], steps: Iterable[float]) -> str:
    """Say how many steps of each attack, to people."""
    return ", ".join(
        f"{count:g} {'step' if count == 1 else 'steps'} of {type(attack).__name__}"
        for attack, count in zip(chosen, steps, strict=True)
    )


def _predictions(classifier: Classifier, images: np.ndarray) -> list[int | None]:
    """Predict classes; None where an input that is not finite leaves none."""
    classes = np.argmax(classifier.logits(tf.constant(images)), axis=-1).tolist()
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=-1)
    return [label if told else None for label, told in zip(classes, finite, strict=True)]


def _checker(classifier: Classifier) -> Callable[[np.ndarray], Any]:
    return lambda images: inputs.checked(images, classifier)


def _dataset(source: str, guarded: GuardedModel, key: str | None) -> tuple[tf.data.Dataset, int]:
    classifier = guarded.detector.classifier
    reader = read(source, classifier, key)
    return reader.dataset(_BATCH), _survey(reader, _checker(classifier))


def _survey(reader: Reader, check: Callable[[np.ndarray], Any]) -> int:
    """Read and count everything once, which takes little: no long run shall end at a bad file."""
    count = 0
    for names, images in reader.batches(_BATCH):
        check(images)
        count += len(names)
    if count == 0:
        raise ValueError(f"There must be one input or more. Received: none in {reader.source}")
    return count


def _write(
    out: str,
    header: Sequence[str],
    reader: Reader,
    check: Callable[[np.ndarray], Any],
    measure: Callable[[np.ndarray], Iterable[Sequence[Any]]],
) -> int:
    """Write a row for each input, a batch at a time, and count them."""
    with replace_atomically(out) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        count, done = _survey(reader, check), 0
        bar = keras.utils.Progbar(count, verbose=_verbose(), unit_name="input")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for names, images in reader.batches(_BATCH):
            rows = zip(names, measure(images), strict=True)
            writer.writerows([name, *row] for name, row in rows)
            done += len(names)
            bar.update(done)
    return count


def _single(reader: Reader) -> tuple[str, np.ndarray]:
    batches = list(itertools.islice(reader.batches(2), 1))
    names, images = batches[0] if batches else ((), np.zeros(0))
    grey_or_colour = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3, 4))
    if len(names) != 1 or not grey_or_colour:
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


def _verbose() -> int:
    """Show progress to people, and spare the logs of machines."""
    return int(sys.stderr.isatty())
