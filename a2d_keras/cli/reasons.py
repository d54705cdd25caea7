"""What a detector learned, and why it judged an input so, for each kind of rule."""

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import Attack
from a2d_keras.classifier import Classifier
from a2d_keras.cli.images import channel_axis
from a2d_keras.detection.layer import DetectorLayer
from a2d_keras.detection.rules import CostRule, ZScore
from a2d_keras.statistics.attack_cost import column_names

_SURE = 0.995  # more is "> 99 %", since no classifier is 100 % sure


class Account(NamedTuple):
    """A part of what a command tells.

    Attributes:
        clause: A part of the sentence for people.
        summary: A part of the summary for programs.
        details: Further lines for people. Defaults to none.
    """

    clause: str
    summary: dict[str, Any]
    details: str = ""


class Explanation(NamedTuple):
    """Why an input got its verdict.

    Attributes:
        account: The `Account`.
        draw: Writes the picture, given the file and the `Subject`.
    """

    account: Account
    draw: Callable[[pathlib.Path, Any], None]


def learned(detector: DetectorLayer) -> Account:
    """Tell what `adapt` has learned.

    Args:
        detector: The detector.

    Returns:
        An `Account`, whose clause begins with what settles a verdict.
    """
    if isinstance(detector.rule, CostRule):
        steps = detector.thresholds.tolist()
        return Account(
            f"{describe_steps(detector.attacks, steps)} settle a verdict",
            {
                "attacks": [repr(attack) for attack in detector.attacks],
                "thresholds": dict(zip(column_names(detector.attacks), steps, strict=True)),
            },
        )
    described, count = detector.describe(), detector.rule.count
    statistics = f"{len(described)} {'statistic' if len(described) == 1 else 'statistics'}"
    return Account(
        f"{count} of them calibrate the p-value of {statistics}",
        {"statistics": described, "calibrating_inputs": count},
        "".join(f"\n  {name}: {said}" for name, said in described.items()),
    )


def explained(
    detector: DetectorLayer,
    image: np.ndarray,
    verdict: dict[str, np.ndarray],
    names: Sequence[str] = (),
) -> Explanation:
    """Find out why an image got its verdict.

    Args:
        detector: The detector.
        image: The image, a batch of one.
        verdict: The outputs of the guarded model for it.
        names: The names of the classes. Defaults to their numbers.

    Returns:
        The `Explanation`, whose summary has the class and the confidence.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    if isinstance(detector.rule, CostRule):
        found = _explained_by_costs(detector, image, names)
    else:
        found = _explained_by_statistics(detector, verdict)
    label, confidence = _confidence(detector.classifier, image)
    said: dict[str, Any] = {"prediction": label, "confidence": confidence}
    if names and label is not None:
        said["class"] = names[label]
    account = found.account._replace(summary={**said, **found.account.summary})
    return found._replace(account=account)


def class_names(path: str | None, classifier: Classifier) -> tuple[str, ...]:
    """Read the names of a classifier's classes.

    Args:
        path: A text file with a name on each line. None if there are no names.
        classifier: The `Classifier`.

    Returns:
        The names, or none.

    Raises:
        ValueError: If there is not one for each class.
    """
    if path is None:
        return ()
    names = tuple(pathlib.Path(path).read_text(encoding="utf-8").splitlines())
    if len(names) != classifier.classes:
        raise ValueError(
            f"--classes must name each of the {classifier.classes} classes on a line. "
            f"Received: {len(names)} lines in {path}"
        )
    return names


def classified(classifier: Classifier, image: np.ndarray, names: Sequence[str] = ()) -> str:
    """Describe a prediction, for people.

    Args:
        classifier: The `Classifier`.
        image: The image, a batch of one.
        names: The names of the classes. Defaults to their numbers.

    Returns:
        The class, and how sure the classifier is, such as `9 (98 %)`.
    """
    label, confidence = _confidence(classifier, image)
    if label is None or confidence is None:
        return "nothing"
    sure = f"{confidence:.0%}".replace("%", " %") if confidence < _SURE else "> 99 %"
    return f"{names[label] if names else label} ({sure})"


def describe_steps(attacks: Sequence[Attack], steps: Iterable[float]) -> str:
    """Describe a number of steps of each attack, for people.

    Args:
        attacks: The attacks.
        steps: The steps of each.

    Returns:
        Such as `1 step of FGSM, 54 steps of BIM`.
    """
    return ", ".join(
        f"{count:g} {'step' if count == 1 else 'steps'} of {type(attack).__name__}"
        for attack, count in zip(attacks, steps, strict=True)
    )


def drawable(images: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Scale one image from the bounds to [0, 1], and put its channels last.

    Args:
        images: The image, a batch of one.
        classifier: The `Classifier`.

    Returns:
        The image, (height, width) or (height, width, channels).
    """
    low, _ = classifier.bounds
    image = (images[0] - low) / classifier.range
    return np.moveaxis(image, channel_axis(classifier), -1) if image.ndim == 3 else image


def predictions(classifier: Classifier, images: np.ndarray) -> list[int | None]:
    """Predict classes.

    Args:
        classifier: The `Classifier`.
        images: Inputs, (n, *input_shape).

    Returns:
        The class of each, or None for an input that is not finite.
    """
    classes = np.argmax(classifier.logits(tf.constant(images)), axis=-1).tolist()
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=-1)
    return [label if valid else None for label, valid in zip(classes, finite, strict=True)]


def _confidence(classifier: Classifier, image: np.ndarray) -> tuple[int | None, float | None]:
    """Return the class of an image and its probability, or None twice if it is not finite."""
    (label,) = predictions(classifier, image)
    probabilities = tf.nn.softmax(classifier.logits(tf.constant(image)))[0].numpy()
    return label, None if label is None else float(f"{probabilities[label]:.6g}")


def _effect(classifier: Classifier, image: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Compute where a change counts: its share along the gradient, or itself without one.

    Args:
        classifier: The `Classifier`.
        image: The image, a batch of one.
        changed: The changed image, likewise.

    Returns:
        The effect of each pixel, the largest being 1, float, (height, width).
    """
    unit = [tf.constant(classifier.to_unit(tf.constant(x, tf.float32))) for x in (image, changed)]
    logits, pullback = classifier.unit.vjp(unit[0])
    _, ranked = tf.math.top_k(logits, 2)
    new, old = tf.argmax(classifier.unit.logits(unit[1]), axis=-1), ranked[:, 0]
    new = tf.where(tf.cast(new, tf.int32) == old, ranked[:, 1], tf.cast(new, tf.int32))
    classes = classifier.classes
    change = np.asarray(unit[1] - unit[0])[0]
    try:
        gradient = pullback(tf.one_hot(new, classes) - tf.one_hot(old, classes))[0]
    except ValueError:  # such as of a classifier that gives labels only
        gradient = np.zeros_like(change)
    effect = np.abs(change * np.asarray(gradient))
    if not effect.any():
        effect = np.abs(change)
    if effect.ndim == 3:
        effect = effect.sum(axis=channel_axis(classifier))
    scaled: np.ndarray = effect / max(effect.max(), np.finfo("float32").tiny)
    return scaled


def _explained_by_costs(
    detector: DetectorLayer, image: np.ndarray, names: Sequence[str]
) -> Explanation:
    """Run every attack of the detector on one image, to its end."""
    from a2d_keras.cli import picture

    classifier, findings = detector.classifier, []
    known = zip(detector.attacks, detector.benign_costs, detector.thresholds, strict=True)
    for attack, benign_costs, threshold in known:
        result = attack(classifier, image)
        finding = picture.Finding(
            attack=type(attack).__name__,
            adversarial=drawable(result.adversarial, classifier),
            effect=_effect(classifier, image, result.adversarial),
            prediction=classified(classifier, result.adversarial, names),
            success=bool(result.success[0]),
            cost=int(result.cost[0]),
            benign_costs=benign_costs,
            threshold=int(threshold) if isinstance(detector.rule, ZScore) else None,
        )
        findings.append(finding)
    costs = [finding.cost for finding in findings]
    names = column_names(detector.attacks)
    account = Account(
        f"costs {describe_steps(detector.attacks, costs)}",
        {"cost": dict(zip(names, costs, strict=True))},
    )
    return Explanation(account, lambda path, subject: picture.draw(path, subject, findings))


def _explained_by_statistics(
    detector: DetectorLayer, verdict: dict[str, np.ndarray]
) -> Explanation:
    """Rank the statistics of one image among the benign ones."""
    from a2d_keras.cli import histograms

    rule, values = detector.rule, verdict["statistics"]
    ranks = rule.p_values(tf.constant(values))[0].numpy().tolist()
    names, values = list(detector.describe()), values[0].tolist()
    measures = [
        histograms.Measure(
            name=statistic.name.replace("_", " "),
            meaning=histograms.first_sentence(statistic),
            tail=statistic.tail,
            value=value,
            p_value=p_value,
            benign=benign,
        )
        for statistic, value, p_value, benign in zip(
            detector.statistics, values, ranks, rule.benign_quantiles, strict=True
        )
    ]
    score, p_value = (float(verdict[name][0]) for name in ("score", "p_value"))
    overall = histograms.Verdict(
        score, p_value, rule.false_positive_rate, rule.benign_scores, rule.thresholds[0]
    )
    account = Account(
        f"has {histograms.show_p(p_value)}",
        {
            "p_value": p_value,
            "statistics": dict(zip(names, values, strict=True)),
            "p_values": dict(zip(names, ranks, strict=True)),
        },
    )
    return Explanation(
        account, lambda path, subject: histograms.draw(path, subject, measures, overall)
    )
