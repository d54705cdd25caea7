"""Score shards of TFRecords on Apache Beam: `python -m examples.batch.score SHARDS ...`.

Each shard is read, batched and written on its own and in order, so a retry writes the same files.
For each shard NAME, OUT holds NAME.csv with a verdict for each record, and NAME.dead.jsonl with the
records that failed and why. Options that are not listed here are passed to Beam.
"""

import argparse
import csv
import io
import json
import math
import os
import uuid

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from a2d_keras.beam import GuardedModelHandler

BATCH = 1024
COUNTS = ("read", "scored", "flagged", "dead")


def parse(record, shape):
    """Turn a record into an input of the classifier; replace this to suit your records.

    Args:
        record: A serialized `tf.train.Example`, bytes.
        shape: The classifier's input shape.

    Returns:
        The input, float32, (*shape).

    Raises:
        ValueError: If the record holds no input. Any exception makes it a dead letter.
    """
    example = tf.train.Example.FromString(record)
    values = example.features.feature["image"].float_list.value
    if len(values) != math.prod(shape):
        raise ValueError(f"`image` must hold {math.prod(shape)} floats. Received: {len(values)}")
    return np.array(values, "float32").reshape(shape)


class ReadShard(beam.DoFn):
    """Turn a shard into batches of inputs, its broken records, and the number of records read."""

    def __init__(self, shape):
        self._shape = shape

    def process(self, shard):
        """Read one shard.

        Args:
            shard: Its path.

        Yields:
            Lists of ((shard, index), input). Also (shard, (index, outcome)) with the tag `broken`,
            and (shard, count) with the tag `read`.
        """
        batch, index = [], -1
        for index, record in enumerate(_records(shard)):
            try:
                if isinstance(record, Exception):
                    raise record
                batch.append(((shard, index), parse(record, self._shape)))
            except Exception as error:  # any error concerns this record only
                outcome = {"error": f"{type(error).__name__}: {error}"}
                yield beam.pvalue.TaggedOutput("broken", (shard, (index, outcome)))
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch
        yield beam.pvalue.TaggedOutput("read", (shard, index + 1))


class WriteShard(beam.DoFn):
    """Write the outcomes of a shard to its two files, once every record has one."""

    def __init__(self, out):
        self._out = out
        self._counters = [Metrics.counter("score", name) for name in COUNTS]

    def process(self, element):
        """Write one shard.

        Args:
            element: (shard, {"outcomes": [(index, outcome), ...], "read": [count]}).
        """
        shard, groups = element
        outcomes = sorted(groups["outcomes"], key=lambda outcome: outcome[0])
        (read,) = groups["read"]
        if [index for index, _ in outcomes] != list(range(read)):
            raise RuntimeError(f"{len(outcomes)} outcomes of {read} records. Received: {shard}")
        rows = [{"record": index, **outcome} for index, outcome in outcomes]
        dead = [row for row in rows if "error" in row]
        scored = [row for row in rows if "error" not in row]
        flagged = sum(row["is_adversarial"] == "True" for row in scored)
        path = os.path.join(self._out, os.path.basename(shard))
        _write(f"{path}.dead.jsonl", "".join(json.dumps(row) + "\n" for row in dead))
        _write(f"{path}.csv", _to_csv(scored))  # last: its presence marks a finished shard
        counts = (read, len(scored), flagged, len(dead))
        for counter, count in zip(self._counters, counts, strict=True):
            counter.inc(count)


def to_outcome(key, result):
    """Turn the result of one record into plain values.

    Args:
        key: (shard, index).
        result: The `PredictionResult`.

    Returns:
        (shard, (index, outcome)). The outcome is a row of the model's outputs, or
        {"error": reason}.
    """
    shard, index = key
    outcome = result.inference
    if "error" not in outcome:
        verdict = {name: _to_text(outcome[name]) for name in outcome if name != "predictions"}
        outcome = {"prediction": int(outcome["predictions"].argmax()), **verdict}
    return shard, (index, outcome)


def run(shards, model, out, shape, options=None):
    """Score shards.

    Args:
        shards: Paths of TFRecord files with different names.
        model: The `.keras` file of a guarded model.
        out: The folder for the results, created if missing.
        shape: The classifier's input shape.
        options: Beam's `PipelineOptions`. Defaults to the direct runner with one worker.

    Returns:
        The numbers of records: a dict with `read`, `scored`, `flagged` and `dead`.

    Raises:
        ValueError: If there are no shards, or two share a name.
    """
    if not shards or len({os.path.basename(shard) for shard in shards}) < len(shards):
        raise ValueError(f"`shards` must be paths with different file names. Received: {shards}")
    tf.io.gfile.makedirs(out)
    handler = KeyedModelHandler(GuardedModelHandler(model)).with_no_batching()
    pipeline = beam.Pipeline(options=options)
    paths = pipeline | beam.Create(shards) | beam.Reshuffle()
    read = paths | beam.ParDo(ReadShard(shape)).with_outputs("broken", "read", main="batches")
    judged = read.batches | RunInference(handler) | beam.MapTuple(to_outcome)
    outcomes = (judged, read.broken) | beam.Flatten()
    groups = {"outcomes": outcomes, "read": read.read} | beam.CoGroupByKey()
    _ = groups | beam.ParDo(WriteShard(out))
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query()["counters"]
    counted = {c.key.metric.name: c.committed for c in found if c.key.metric.namespace == "score"}
    return {name: counted.get(name, 0) for name in COUNTS}


def _records(shard):
    """Read a shard to its end, or to the first damage, since records beyond it cannot be found."""
    try:
        yield from tf.data.TFRecordDataset(shard).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        yield ValueError(f"The shard is damaged from here to its end. Received: {error.message}")


def _to_text(values):
    """Write a number, or several with spaces between them: one per statistic."""
    return " ".join(str(value) for value in np.atleast_1d(values))


def _to_csv(rows):
    text = io.StringIO()
    columns = rows[0] if rows else ("record",)  # the outputs differ between kinds of guards
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path, text):
    """Write a file completely or not at all, even if two workers write it at once."""
    partial = f"{path}.{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(partial, "w") as file:
        file.write(text)
    tf.io.gfile.rename(partial, path, overwrite=True)


def main():
    """Score the shards that the command line names, and print the counts."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.batch.score", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("shards", help="a glob of TFRecord files")
    parser.add_argument("--model", required=True, help="the .keras file of a guarded model")
    parser.add_argument("--out", required=True, help="the folder for the results")
    parser.add_argument("--shape", required=True, type=int, nargs="+", help="such as 8 8 1")
    known, rest = parser.parse_known_args()
    shards = sorted(tf.io.gfile.glob(known.shards))
    options = PipelineOptions(rest)
    print(json.dumps(run(shards, known.model, known.out, tuple(known.shape), options)))


if __name__ == "__main__":
    main()
