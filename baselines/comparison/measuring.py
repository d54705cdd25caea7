"""`measure`: choose the inputs, and let everything that suits the classifier work on them."""

import numpy as np

from a2d_keras import Attack
from baselines.comparison.choices import MIN_INPUTS
from baselines.comparison.labels import correctly_classified
from baselines.comparison.measurements import Measurements, Split

MIN_EXAMPLES = 5  # that fool, in each half of the inputs: baselines learn from no fewer
_TRAINED = "END, Z-score, Figure 6, Table 7"


def measure(work, data, *, attacks, detectors, options):
    """Craft adversarial examples, and measure them with every detector.

    What cannot work on the classifier is left out, and so are attacks that fool it too seldom.
    A line says which, and why.

    Args:
        work: The `baselines.comparison.measurements.Work` that measures.
        data: The `models.record.Dataset`; without training inputs, its first two arrays are empty.
        attacks: As for `baselines.comparison.compare`.
        detectors: As for `baselines.comparison.compare`.
        options: The `Options`.

    Returns:
        The `Measurements`.

    Raises:
        ValueError: If the classifier gets too few test inputs right, or no attack is left.
    """
    classifier, left_out = work.classifier, _LeftOut()
    benign = judged(classifier, data, options.limit)
    attacks = left_out.unsuited(attacks, classifier)
    defences = {name: each for name, each in detectors.items() if isinstance(each, Attack)}
    makers = {name: each for name, each in detectors.items() if name not in defences}
    defences = left_out.unsuited(defences, classifier)
    correct = correctly_classified(classifier, data.x_train, data.y_train, 2 * options.limit)
    if defences and len(correct) < 2 * MIN_INPUTS:
        left_out.say(_TRAINED, f"they need {2 * MIN_INPUTS} training inputs, not {len(correct)}")
    splits = 2 if len(correct) >= 2 * MIN_INPUTS else 1  # the training inputs too
    sizes = len(attacks), len(defences), len(makers)
    work.checkpoints.expect(_pieces(*sizes, splits, options.halves))

    examples, fooled = work.craft("test", attacks, dict.fromkeys(attacks, benign))
    training = None
    if attacks and splits == 2:
        training = _training(work, correct, attacks, defences)
    kept = left_out.weak(fooled, training)
    attacks = {name: attacks[name] for name in kept}
    inputs = {"benign": benign, **{name: examples[name] for name in kept}}
    extra_steps = work.extra(options.halves, benign, defences)
    baselines, characteristics = {}, {}
    for name, make in makers.items():
        try:
            baselines[name] = baseline = make(classifier.model, data)
            characteristics[name] = work.characterise(name, baseline, inputs, attacks)
        except ValueError as error:
            baselines.pop(name, None)
            left_out.say(name, str(error))
    test = Split(inputs, _only(fooled, kept), *work.attack_again("test", inputs, defences))
    return Measurements(
        test,
        training and _kinds(training, kept),
        extra_steps,
        baselines,
        characteristics,
        classifier.bounds,
        options.fooled_only,
        left_out,
    )


def judged(classifier, data, limit):
    """Choose the test inputs to judge.

    Args:
        classifier: The `a2d_keras.Classifier`.
        data: The `models.record.Dataset`.
        limit: The largest number of inputs; None means all.

    Returns:
        The first that the classifier gets right, float32, (at most limit, *input shape).

    Raises:
        ValueError: If there are fewer than 40.
    """
    benign = correctly_classified(classifier, data.x_test, data.y_test, limit)
    if len(benign) < MIN_INPUTS:
        raise ValueError(
            f"The classifier must get at least {MIN_INPUTS} test inputs right; check the classes, "
            f"and the range of the inputs. Received: {len(benign)} of {len(data.x_test)}"
        )
    return benign


class _LeftOut(dict):
    """The reasons why things are left out, by name."""

    def say(self, name, reason):
        """Leave something out, and print why."""
        self[name] = reason
        print(f"{name}: left out: {reason}", flush=True)

    def unsuited(self, attacks, classifier):
        """Return the attacks that can work on the classifier."""
        suited = {}
        for name, attack in attacks.items():
            try:
                if isinstance(attack, Attack):
                    attack.require(classifier)
                suited[name] = attack
            except ValueError as error:
                self.say(name, str(error))
        return suited

    def weak(self, fooled, training):
        """Return the names of attacks with enough examples that fool."""
        kept = []
        for name, found in fooled.items():
            halves = [int(half.sum()) for half in np.split(found, [len(found) // 2])]
            if min(halves) < MIN_EXAMPLES:
                need = f"needs {MIN_EXAMPLES} in each half"
                self.say(name, f"fools on {halves[0]} + {halves[1]} of {len(found)}; {need}")
            elif training is not None and not training.fooled[name].any():
                self.say(name, f"fools on no training input of {len(training.fooled[name])}")
            else:
                kept.append(name)
        if not kept:
            raise ValueError(
                "No attack fools the classifier often enough: name stronger attacks, or raise the "
                f"limit. Received: {', '.join(fooled) or 'no attack'}"
            )
        return kept


def _pieces(attacks, defences, baselines, splits, halves):
    """Count the checkpoints, if no attack or baseline is left out later."""
    again = splits * (attacks + 1) * defences  # benign inputs too
    characteristics = baselines * (2 * attacks + 1)  # noisy inputs too
    return splits * attacks + again + characteristics + 2 * len(halves.extra if halves else ())


def _training(work, correct, attacks, defences):
    """Measure training inputs: one half benign, and a share of the other for each attack."""
    benign, rest = correct[: len(correct) // 2], correct[len(correct) // 2 :]
    shares = dict(zip(attacks, np.array_split(rest, len(attacks)), strict=True))
    examples, fooled = work.craft("training", attacks, shares)
    inputs = {"benign": benign, **examples}
    return Split(inputs, fooled, *work.attack_again("training", inputs, defences))


def _kinds(split, kept):
    """Keep only some attacks of a split."""
    kinds = ("benign", *kept)
    parts = (split.inputs, split.steps, split.queries)
    inputs, steps, queries = (_only(each, kinds) for each in parts)
    return Split(inputs, _only(split.fooled, kept), steps, queries)


def _only(found, names):
    return {name: found[name] for name in names}
