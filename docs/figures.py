"""Draw the figures of the documentation: `python -m docs.figures`, from a checkout.

`landing.png` shows MNIST images and their verdicts, beside the scores of many. MNIST comes from
the folder in `A2D_DATA_DIR`, or else Keras downloads it.
`idea.png` shows a classifier of points in the plane, and attack costs on both sides of its
boundary.
`explain.png` and `explain_costs.png` are the output of `a2d-keras explain` for an adversarial
digit, judged by statistics and by what an attack costs.
"""

import pathlib
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

import a2d_keras as a2d
from a2d_keras import cli
from models import datasets, registry, zoo

FIGURES = pathlib.Path(__file__).parent / "figures"
BENIGN, ADVERSARIAL = "#3b6fb6", "#d1495b"
SHOWN = ("FGSM", "BIM-a", "DeepFool", "PGD")
DEFENCE = a2d.BIM2(eps=1.0, eps_iter=0.005)  # small steps, for fine costs
ATTACK = a2d.BIM2(eps=1.0, eps_iter=0.035)  # the attacker takes larger steps


def main():
    """Draw all figures."""
    FIGURES.mkdir(exist_ok=True)
    landing(FIGURES / "landing.png")
    idea(FIGURES / "idea.png")
    explain(FIGURES / "explain.png", "fisher")
    explain(FIGURES / "explain_costs.png", "zscore")


def landing(path, count=100, adapt=500):
    """Draw benign and adversarial MNIST images with their verdicts, and a histogram of scores.

    Args:
        path: The file.
        count: Images to attack. The first of them, which every attack fools, are shown.
        adapt: Other images to adapt on.
    """
    data, settings = datasets.load("mnist"), registry.find("mnist").settings
    attacks = settings.attacks | settings.strong
    x, y, benign = data.x_test[:count], data.y_test[:count], data.x_test[count : count + adapt]
    guarded = a2d.guard(zoo.load("mnist"))
    guarded.adapt(benign, verbose=0)
    out = {"benign": guarded.predict(x, verbose=0)}
    crafted, right = {}, out["benign"]["predictions"].argmax(-1) == y
    for name in SHOWN:
        crafted[name] = attacks[name](guarded.detector.classifier, x)
        out[name] = guarded.predict(crafted[name].adversarial, verbose=0)
    everywhere = np.logical_and.reduce([right, *(each.success for each in crafted.values())])
    figure = plt.figure(figsize=(11, 3.9), layout="constrained")
    images, scores = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    axes = images.subplots(2, len(SHOWN))
    for column, name in enumerate(SHOWN):
        index = np.flatnonzero(everywhere)[column]
        verdict(axes[0, column], "benign", x[index], out["benign"], index)
        verdict(axes[1, column], name, crafted[name].adversarial[index], out[name], index)
    fooled = [out[name]["score"][crafted[name].success & right] for name in SHOWN]
    histogram(scores.subplots(), out["benign"], np.concatenate(fooled))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def verdict(axis, kind, image, out, index):
    """Draw an image under its kind, prediction, verdict and p-value."""
    flagged, p = out["is_adversarial"][index], out["p_value"][index]
    color, said = (ADVERSARIAL, "flagged") if flagged else (BENIGN, "not flagged")
    axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{kind}\nseen as {out['predictions'][index].argmax()}", fontsize=10)
    axis.set_xlabel(f"{said}\np = {p:.3f}", color=color, fontsize=10)
    axis.set(xticks=[], yticks=[])


def histogram(axis, benign, adversarial):
    """Draw the scores of benign and of adversarial inputs, and the threshold between them."""
    bins = np.linspace(0, max(benign["score"].max(), adversarial.max()), 31)
    style = {"bins": bins, "alpha": 0.75}
    for kind, values, color in (
        ("benign", benign["score"], BENIGN),
        ("adversarial", adversarial, ADVERSARIAL),
    ):
        weights = np.full(len(values), 1 / len(values))
        axis.hist(values, weights=weights, color=color, label=kind, **style)
    threshold = benign["score"][~benign["is_adversarial"]].max()
    axis.axvline(threshold, color="#555555", linestyle=":", label="p = 0.05")
    axis.set(xlabel="score", ylabel="share of inputs")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)


def idea(path):
    """Draw the steps from a benign and from an adversarial point across the boundary."""
    keras.utils.set_random_seed(0)
    x, y = make_moons(300, noise=0.12, random_state=0)
    x = 0.1 + 0.8 * (x - x.min(axis=0)) / np.ptp(x, axis=0)
    model = keras.Sequential(
        [keras.Input((2,)), *[keras.layers.Dense(32, "tanh") for _ in range(2)]]
    )
    model.add(keras.layers.Dense(2, "softmax"))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=300, verbose=0)
    classifier = a2d.Classifier(model)

    point = x[y == 0][7:8]
    crafted = ATTACK(classifier, point).adversarial
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    for axis in axes:
        regions(axis, classifier)
        axis.scatter(*x.T, c=np.where(y == 0, BENIGN, "#66a182"), s=6, alpha=0.35)
        axis.set(xlim=(0.05, 0.7), ylim=(0.4, 1), xticks=[], yticks=[], aspect="equal")
    axes[0].set_title("The attacker moves an input across the boundary")
    way(axes[0], ATTACK, classifier, point, ADVERSARIAL)
    mark(axes[0], point, BENIGN, "benign input")
    mark(axes[0], crafted, ADVERSARIAL, "adversarial example")
    axes[1].set_title("The defence attacks both, and counts its steps")
    for start, color, name in ((point, BENIGN, "benign"), (crafted, ADVERSARIAL, "adversarial")):
        cost = way(axes[1], DEFENCE, classifier, start, color)
        mark(axes[1], start, color, f"{name}: {cost} step{'s' if cost > 1 else ''}")
    for axis in axes:
        axis.legend(loc="upper right")
    figure.savefig(path, dpi=110)


def regions(axis, classifier):
    """Shade the classifier's regions, and draw their boundary."""
    ticks = np.linspace(0, 1, 200, dtype="float32")
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    logits = classifier.logits(grid.reshape(-1, 2)).numpy().reshape(200, 200, 2)
    margin = logits[..., 1] - logits[..., 0]
    axis.contourf(ticks, ticks, margin, levels=[-1e9, 0, 1e9], colors=["#e8eef7", "#edf5f0"])
    axis.contour(ticks, ticks, margin, levels=[0], colors="#555555", linewidths=1)


def way(axis, attack, classifier, start, color):
    """Draw every step of an attack, and return their number."""
    cost = int(attack(classifier, start).cost[0])
    steps = [attack(classifier, start, budget=n).adversarial for n in range(1, cost + 1)]
    axis.plot(*np.concatenate([start, *steps]).T, ".-", color=color, markersize=4, linewidth=0.8)
    return cost


def mark(axis, point, color, label):
    """Mark a point."""
    axis.scatter(*point.T, color=color, s=70, edgecolor="white", zorder=3, label=label)


def explain(path, rule):
    """Run `a2d-keras explain` on an adversarial digit, the most suspicious of a few."""
    digits, model = datasets.load("digits").x_test, zoo.load("digits")
    guards = {name: a2d.guard(model, rule=name) for name in {"fisher", rule}}
    for guarded in guards.values():
        guarded.adapt(digits[300:], verbose=0)
    attack = a2d.BIM(eps_iter=0.01, max_iterations=50)
    crafted = attack(guarded.detector.classifier, digits[:40]).adversarial
    crafted = np.floor(255 * crafted) / 255  # what an image file keeps
    suspect = crafted[guards["fisher"].predict(crafted, verbose=0)["p_value"].argmin()]
    with tempfile.TemporaryDirectory() as folder:
        images = pathlib.Path(folder) / "images"  # images of a folder are shown without its path
        images.mkdir()
        keras.utils.save_img(images / "suspect.png", np.round(255 * suspect), scale=False)
        guards[rule].save(f"{folder}/guarded.keras")
        cli.main(["explain", f"{folder}/guarded.keras", str(images), "-o", str(path)])


if __name__ == "__main__":
    main()
