"""Export what an accelerator is to run: `python -m benchmarks.accelerator.export --data-dir D`.

For each classifier and precision: the default verdict, and the loop of BIM_d's verdict at several
numbers of slots. bfloat16 needs a processor that has it, since TensorFlow gives the results to
compare with.
"""

import argparse
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras.attacks.engine.slots import SlotLoop, Task
from a2d_keras.precision import native_bfloat16
from benchmarks.accelerator.programs import Folder, Program
from benchmarks.subjects import FULL, Subject
from models import imagenet

_ADAPT = 64  # photographs
_PHOTOGRAPHS = 32  # that are stored
_STORED = 256  # images of other data sets that are stored
_PER_SLOT = 4  # inputs of a loop


class Source(NamedTuple):
    """A classifier to export.

    Attributes:
        name: Its name.
        model: The `keras.Model`.
        benign: Inputs to adapt on, float32.
        images: Inputs to store, uint8, 255 times the real ones.
        attack: The attack whose verdict loop is exported.
        slots: The numbers of slots; the default verdict takes each as a batch.
    """

    name: str
    model: keras.Model
    benign: np.ndarray
    images: np.ndarray
    attack: a2d.BIM
    slots: tuple


def main(argv=None):
    """Write the folder.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.export")
    parser.add_argument("--data-dir", help="folder of the data (A2D_DATA_DIR)")
    parser.add_argument("--out", default="results/accelerator", help="the folder (%(default)s)")
    parser.add_argument("--only", nargs="+", help="names of some classifiers")
    arguments = parser.parse_args(argv)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    folder = Folder(out)
    for source in _sources(arguments.data_dir):
        if not arguments.only or source.name in arguments.only:
            export(folder, source)
    size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    print(f"Written to {out}: {size:.1f} MiB")


def export(folder, source):
    """Export all programs of a classifier.

    Args:
        folder: The `benchmarks.accelerator.programs.Folder`.
        source: The `Source`.
    """
    operations = 2 * _forward_operations(source.model)  # a pass, and the one back to the input
    for precision in ("float32", *(["bfloat16"] if native_bfloat16() else [])):
        classifier = a2d.Classifier(source.model, precision=precision)
        about = {
            "shape": classifier.input_shape,
            "precision": precision,
            "operations_per_gradient": operations,
        }
        for make in (_verdicts, _loops):
            for program in make(source, classifier, about):
                folder.add(program, source.images)
                print(program.name, flush=True)


def _verdicts(source, classifier, about):
    """Yield the default verdict, for each batch. Its passes count as one gradient each."""
    guarded = a2d.guard(classifier, on_invalid="flag")  # XLA has no messages
    guarded.adapt(source.benign, verbose=0)
    found = guarded.predict(_unpacked(source.images), verbose=0)
    passes = 1 + guarded.max_queries_per_input // 2  # a prediction takes half of a gradient's time
    for batch in source.slots:

        def function(x, batch=batch):
            out = guarded.detector.judge(x, tf.zeros([batch], tf.bool))
            return {
                "gradients": tf.fill([batch], passes),
                "is_adversarial": out["is_adversarial"],
            }

        yield Program(
            name=f"{source.name}-{about['precision']}-verdict-{batch}",
            function=function,
            count=batch,
            expected={"gradients": np.full(1, passes), "is_adversarial": found["is_adversarial"]},
            about={**about, "compared": ["is_adversarial"]},
        )


def _loops(source, classifier, about):
    """Yield the loop of the attack's verdict, for each number of slots."""
    guarded = a2d.guard(classifier, attacks=[source.attack])
    guarded.adapt(source.benign, verbose=0)
    budget = int(guarded.detector.thresholds[0])
    (attack,) = guarded.detector.attacks
    x = _unpacked(source.images)
    found = attack(classifier, x, budget=budget, images=False)
    for slots in source.slots:
        count = _PER_SLOT * slots

        def function(x, slots=slots, count=count):
            one = tf.constant(1, tf.int64)
            task = Task(
                x=x,
                targets=tf.zeros([count], tf.int64),
                budget=budget * one,
                max_iterations=attack.max_iterations * one,
                parameters=attack.parameters(classifier),
            )
            result = SlotLoop(attack, classifier, slots, images=False).run_static(task)
            return {"cost": result.cost, "gradients": result.gradient_evaluations}

        yield Program(
            name=f"{source.name}-{about['precision']}-loop-{slots}",
            function=function,
            count=count,
            expected={"cost": found.cost, "gradients": found.gradient_evaluations},
            about={**about, "compared": ["cost"]},
        )


def _sources(data_dir):
    for name in FULL.datasets:
        subject = Subject(name, FULL, data_dir)
        images = _packed(subject.benign[:_STORED])
        slots = (128, 512, 2048, 4096)
        yield Source(name, subject.model, subject.held_out, images, subject.bim, slots)
    x, _ = imagenet.photographs(data_dir, _ADAPT + _PHOTOGRAPHS)
    model = imagenet.load("mobilenet", data_dir)
    attack = a2d.BIM(eps_iter=2e-5, max_iterations=100)
    images = _packed(x[_ADAPT:])
    yield Source("mobilenet", model, x[:_ADAPT], images, attack, (32, 128, 512))


def _packed(x):
    return np.round(255 * x).astype("uint8")


def _unpacked(images):
    return (images / np.float32(255)).astype("float32")


def _forward_operations(model):
    """Count the floating-point operations of a forward pass over one input, as TensorFlow does."""
    x = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(x).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


if __name__ == "__main__":
    main()
