"""Make a model and shards to score: `python -m examples.batch.digits OUT`.

The model guards the digits classifier. A tenth of the digits in the shards are adversarial, and a
few records are broken.
"""

import argparse
import pathlib

import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from models import datasets, zoo


def to_record(image, name="image"):
    """Write an image as a serialized `tf.train.Example`.

    Args:
        image: The image, an array.
        name: The name of the feature. Defaults to `"image"`.

    Returns:
        The record, bytes.
    """
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel()))
    features = tf.train.Features(feature={name: feature})
    return tf.train.Example(features=features).SerializeToString()


BROKEN = (
    lambda image: b"not an Example",
    lambda image: to_record(image, "picture"),
    lambda image: to_record(image[:7]),
    lambda image: to_record(np.nan * image),
    lambda image: to_record(255 * image),
)


def make(out, records=10_000, shards=8, broken=20):
    """Make the model and the shards.

    Args:
        out: The folder to create.
        records: The number of records in all shards. Defaults to 10,000.
        shards: The number of shards. Defaults to 8.
        broken: The number of broken records, of each kind in turn. Defaults to 20.

    Returns:
        The places of the broken records: a list of (shard's name, index).
    """
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    model, digits = zoo.load("digits"), datasets.load("digits")
    guarded = a2d.guard(model)
    guarded.adapt(digits.x_test[300:])
    guarded.save(out / "guarded.keras")

    rng = np.random.default_rng(0)
    benign = digits.x_test[:270]
    attack = a2d.BIM(eps_iter=0.01, max_iterations=50)
    crafted = attack(a2d.Classifier(model), digits.x_test[270:300]).adversarial
    images = rng.choice(np.concatenate([benign, crafted]), records)
    images = np.clip(images + rng.uniform(-1 / 64, 1 / 64, images.shape), 0, 1)  # no two alike
    serialized = [to_record(image) for image in images]
    chosen = rng.choice(records, broken, replace=False)
    for kind, index in enumerate(chosen):
        serialized[index] = BROKEN[kind % len(BROKEN)](images[index])

    names = [f"digits-{shard:05}-of-{shards:05}.tfrecord" for shard in range(shards)]
    for shard, name in enumerate(names):
        with tf.io.TFRecordWriter(str(out / name)) as writer:
            for record in serialized[shard::shards]:
                writer.write(record)
    return [(names[index % shards], int(index // shards)) for index in chosen]


def main():
    """Make both in the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m examples.batch.digits", description=__doc__)
    parser.add_argument("out", help="the folder to create")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--broken", type=int, default=20)
    make(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
