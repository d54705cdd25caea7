"""The time of Beam's batch scoring on 1, 2 and 4 worker processes, on shards of CIFAR-10.

The same shards are scored by the default guard. The time includes what a user waits for: the start
of Beam, and every worker that loads TensorFlow and the guarded model.
"""

import json
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from benchmarks.fresh import ROOT
from benchmarks.rows import Row, exactly, spread
from benchmarks.timing import timed

_SHARDS = 8
_WORKERS = (1, 2, 4)


def rows(bench):
    """Time each number of workers, in turns, and compare with one.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    subject = list(bench.subjects())[-1]  # the largest that comes without photographs
    count, folder = bench.sizes.scaling[-1], bench.out / "shards"
    folder.mkdir(exist_ok=True)
    _prepare(folder, subject, count)
    turns = [
        [timed(lambda w=w: _score(folder, subject, w)) for w in _WORKERS]
        for _ in range(bench.sizes.repeats)
    ]
    seconds = np.array([[elapsed for elapsed, _ in turn] for turn in turns]).T
    counts = {json.dumps(found) for turn in turns for _, found in turn}
    for workers, each in zip(_WORKERS, seconds, strict=True):
        yield Row(
            f"seconds of batch scoring, {workers} workers: {count:,} inputs of {subject.name} in "
            f"{_SHARDS} shards",
            spread(each),
            note=f"{count / np.median(each):.0f} inputs a second; {os.cpu_count()} processors",
        )
    yield Row(
        f"different counts of verdicts among runs: {subject.name}, batch scoring",
        exactly(len(counts) - 1),
        at_most=0,
        note=counts.pop(),
    )


def _prepare(folder, subject, count):
    """Write the guarded model and the shards."""
    guarded = a2d.guard(subject.classifier)
    guarded.adapt(subject.held_out, verbose=0)
    guarded.save(folder / "guarded.keras")
    images = np.resize(subject.benign, (count, *subject.benign.shape[1:]))
    for shard, part in enumerate(np.array_split(images, _SHARDS)):
        with tf.io.TFRecordWriter(str(folder / f"{shard}.tfrecord")) as writer:
            for image in part:
                writer.write(_record(image))


def _record(image):
    values = tf.train.FloatList(value=image.ravel())
    features = tf.train.Features(feature={"image": tf.train.Feature(float_list=values)})
    return tf.train.Example(features=features).SerializeToString()


def _score(folder, subject, workers):
    """Score all shards in worker processes, and return the counts."""
    shape = subject.benign.shape[1:]
    command = [sys.executable, "-m", "examples.batch.score", f"{folder}/*.tfrecord"]
    command += ["--model", f"{folder}/guarded.keras", "--out", f"{folder}/scored"]
    command += ["--shape", *map(str, shape), f"--direct_num_workers={workers}"]
    command += ["--direct_running_mode=multi_processing"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)
