"""A small project that uses a2d-keras. Nobody runs it: `tox run -e lint` checks its types."""

import numpy as np
from typing_extensions import assert_type

import a2d_keras as a2d


def serve(model: object, x: np.ndarray) -> np.ndarray:
    guarded = a2d.guard(a2d.Classifier(model, bounds=(0.0, 1.0)), false_positive_rate=0.01)
    assert_type(guarded, a2d.GuardedModel)
    assert_type(guarded.detector, a2d.DetectorLayer)
    assert_type(guarded.max_queries_per_input, int)
    guarded.adapt(x, verbose=0)
    assert_type(guarded.detector.describe(), dict[str, str])
    attack: a2d.Attack = a2d.BIM(eps_iter=0.01)
    assert_type(attack(guarded.detector.classifier, x), a2d.AttackResult)
    log = a2d.DetectionLog("log.jsonl", on_alarm=print)
    return guarded.predict(x, callbacks=[log])["is_adversarial"]


def wrong(model: object) -> None:
    """Comments that ignore nothing are errors too, so each line must be one."""
    a2d.guard(a2d.Classifier(model), false_positive_rate="low")  # type: ignore[arg-type]
    a2d.BIM(eps_iter=None)  # type: ignore[arg-type]
    a2d.BIM(steps=3)  # type: ignore[call-arg]
    a2d.Classifier(model).no_such_method()  # type: ignore[attr-defined]
