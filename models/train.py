"""Train one of the models and save its weights: `python -m models.train mnist`."""

import argparse

import keras
import tensorflow as tf

from models import datasets, registry, zoo


def main(argv=None):
    """Train, save and report one model.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__)
    parser.add_argument("dataset", choices=registry.RECORDS | registry.OTHER_RECORDS)
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    arguments = parser.parse_args(argv)
    tf.config.experimental.enable_op_determinism()
    data = datasets.load(arguments.dataset, arguments.data_dir)
    model = zoo.train(arguments.dataset, data)
    entry = zoo.save(arguments.dataset, model, data)
    print(f"Keras {keras.__version__}, TensorFlow {tf.__version__}: {entry}")


if __name__ == "__main__":
    main()
