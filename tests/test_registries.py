"""A new attack, rule or statistic is one file and one line; everything else follows."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent

TOYS = {
    "attacks": """
import dataclasses
import keras
import tensorflow as tf
from a2d_keras.attacks.base import StepAttack

@keras.saving.register_keras_serializable(package="toy")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Darken(StepAttack):
    traced = ("step_length", "max_iterations")
    step_length: float = 0.01
    max_iterations: int = 100

    def step(self, classifier, slots):
        predicted = tf.argmax(classifier.logits(slots.x), axis=-1)
        labels = tf.where(slots.steps == 0, predicted, slots.labels)
        darker = slots.x - tf.cast(self.step_length, tf.float32) * classifier.range
        after = slots._replace(
            x=tf.maximum(darker, classifier.bounds[0]),
            labels=labels,
            steps=slots.steps + 1,
            queries=slots.queries + 1,
        )
        return after, predicted != labels
""",
    "rules": """
import keras
import numpy as np
import tensorflow as tf
from a2d_keras.detection.rules.base import CostRule

@keras.saving.register_keras_serializable(package="toy")
class Smallest(CostRule):
    word = "smallest"

    def _prepare_for(self, attacks, costs):
        pass

    def _learn(self, benign, adversarial):
        self.budgets.assign(benign.min(axis=0))

    def undecided(self, costs):
        return tf.reduce_any(costs == 0, axis=-1)

    def call(self, costs):
        flagged = tf.reduce_any(costs < tf.convert_to_tensor(self.budgets), axis=-1)
        return flagged, tf.cast(-tf.reduce_min(costs, axis=-1), tf.float32)
""",
    "statistics": """
import dataclasses
import keras
import tensorflow as tf
from a2d_keras.statistics.base import Passes, Statistic

@keras.saving.register_keras_serializable(package="toy")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Halved(Statistic):
    tail: str = "both"

    def passes(self, classifier):
        return Passes(queries=1)

    def measure(self, view, state):
        middle = (view.x + view.classifier.unit.bounds[0]) / 2
        return tf.reduce_max(view.logits - view.classifier.unit.logits(middle), axis=-1)
""",
    "redteam": """
import dataclasses
import numpy as np
from a2d_keras.redteam.adversary import Adversary, Kept

@dataclasses.dataclass(frozen=True, kw_only=True)
class Brighten(Adversary):
    eps: float = 0.1

    def craft(self, case):
        kept, rows = Kept(case), np.arange(len(case.x))
        kept.offer(rows, np.minimum(case.x + np.float32(self.eps), 1))
        kept.count(rows, 1, 0)
        return kept.crafted()
""",
}
NAMES = {
    "attacks": "Darken",
    "rules": "Smallest",
    "statistics": "Halved",
    "redteam": "Brighten",
}
CONTRACTS = {"attack_contract": "Darken", "rules": "smallest", "statistics_contract": "Halved"}
PACKAGES = {
    "attacks": "a2d_keras.attacks",
    "rules": "a2d_keras.detection.rules",
    "statistics": "a2d_keras.statistics",
    "redteam": "a2d_keras.redteam",
}

USE = """
import json, sys
import keras, numpy as np
import a2d_keras as a2d
from a2d_keras import attacks, statistics
from a2d_keras.cli.parser import make_parser
from a2d_keras.detection.rules import RULES

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
x = np.random.default_rng(0).uniform(size=(40, 4)).astype("float32")
parsed = make_parser().parse_args(["cost", "m", "x", "-o", "o", "--attack", "Darken"])
cost = a2d.AttackCost(a2d.Darken(), exact=True)
guarded = a2d.guard(model, statistics=[cost], rule="smallest")
guarded.adapt(x, verbose=0)
out = guarded.predict(x, verbose=0)
guarded.save("guarded.keras")
again = keras.models.load_model("guarded.keras").predict(x, verbose=0)
other = a2d.guard(model, statistics=[statistics.Halved(), cost])
other.adapt(x, verbose=0)
values = other.predict(x, verbose=0)["statistics"]
other.save("other.keras")
loaded = keras.models.load_model("other.keras").predict(x, verbose=0)["statistics"]
logits = a2d.Classifier(model).logits
halved = np.max(logits(x) - logits(x / 2), axis=-1)
y = model.predict(x, verbose=0).argmax(axis=-1)
result = a2d.redteam(other, x, y, attacks=["Brighten"], eps=0.5, verbose=0)
attempted = make_parser().parse_args(["redteam", "m", "x", "-o", "o", "--attack", "Brighten"])
exported = [hasattr(a2d, name) for name in ("Darken", "Halved")]
print(json.dumps({
    "package": a2d.__file__,
    "parsed": parsed.attack,
    "listed": "Darken" in attacks.__all__,
    "rules": sorted(RULES),
    "exported": exported,
    "costs": out["cost"][:, 0].tolist(),
    "expected": a2d.Darken()(a2d.Classifier(model), x).cost.tolist(),
    "flagged": int(out["is_adversarial"].sum()),
    "same": bool((again["cost"] == out["cost"]).all() and (loaded == values).all()),
    "halved": float(np.abs(values[:, 0] - halved).max()),
    "attempted": attempted.attack,
    "rows": result.rows(),
    "fooled": float((model.predict(np.minimum(x + 0.5, 1), verbose=0).argmax(-1) != y).mean()),
    "of_fisher": values[:, 1].tolist(),
}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout with a toy of each kind: one file and one line."""
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("a2d_keras", "models", "baselines", "tests"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    for kind, source in TOYS.items():
        package = root / PACKAGES[kind].replace(".", "/")
        (package / "toy.py").write_text(source)
        registry, name = package / "__init__.py", NAMES[kind]
        line = f"from {PACKAGES[kind]}.toy import {name} as {name}\n"
        before, first, after = registry.read_text().partition(f"from {PACKAGES[kind]}.")
        registry.write_text(before + line + first + after)
    return root


def run(checkout, *words):
    command = [sys.executable, *words]
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def found(checkout):
    return json.loads(run(checkout, "-c", USE).splitlines()[-1])


def test_the_copy_is_what_runs(found, checkout):
    assert pathlib.Path(found["package"]).is_relative_to(checkout)


def test_the_command_line_offers_the_attack(found, checkout):
    assert found["parsed"] == [["Darken", {}]]
    assert "Darken" in run(checkout, "-m", "a2d_keras", "cost", "--help")


def test_guard_takes_all_of_them(found):
    assert found["listed"]
    assert found["rules"] == ["fisher", "knn", "smallest", "zscore"]
    assert found["exported"] == [True, True]
    assert found["costs"] == found["expected"] == found["of_fisher"]
    assert found["halved"] < 1e-5
    assert (found["flagged"], found["same"]) == (0, True)


def test_the_red_team_takes_the_adversary(found):
    assert found["attempted"] == [["Brighten", {}]]
    first, _ = found["rows"]
    assert (first["attack"], first["queries"]) == ("brighten", 1)
    assert first["fooled"] == found["fooled"] > 0


@pytest.fixture(scope="module")
def collected(checkout):
    files = [f"tests/test_{name}.py" for name in CONTRACTS]
    there = [file for file in files if (checkout / file).exists()]
    return run(checkout, "-m", "pytest", "--collect-only", "-q", *there)


@pytest.mark.parametrize("name", CONTRACTS)
def test_contract_tests_cover_it(checkout, collected, name):
    if f"test_{name}.py" not in collected:
        pytest.skip("not of this checkout")
    lines = [line for line in collected.splitlines() if f"test_{name}.py" in line]
    assert any(CONTRACTS[name] in line for line in lines)
