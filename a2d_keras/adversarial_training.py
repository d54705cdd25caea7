"""`AdversarialTraining`: train a classifier on attacked images (Madry et al. 2018)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import bounds as ranges
from a2d_keras.classifier import geometry
from a2d_keras.validation import require_fraction, require_whole


@keras.saving.register_keras_serializable("a2d_keras")
class AdversarialTraining(keras.Model):
    """A classifier that `fit` trains on attacked inputs.

    Every batch is attacked by projected gradient descent on the loss, from a random start, and
    the classifier is trained on the result. It is the model you hand in whose weights change: save
    that one and guard that one. `predict` and `evaluate` see inputs as they are.

    A step costs `max_iterations` more passes forward and backward than plain training. The
    classifier must not change images at random while it is trained, because the attack would not
    see the changes: augment in the data set, with `Dataset.map`.

    Args:
        model: The classifier to train, a built `keras.Model` with one input.
        eps: The largest change of a feature, as a fraction of the input range.
        eps_iter: The length of a step, as a fraction of the input range. Defaults to
            2.5 × `eps` / `max_iterations`, at most `eps`.
        max_iterations: The number of steps. 1 is the cheapest, and can fail: accuracy under a
            longer attack then falls to zero all at once (Wong, Rice and Kolter 2020). Defaults
            to 7.
        warmup_steps: Batches over which `eps` and `eps_iter` grow from zero to their values.
            Large changes keep some classifiers from learning at all; this helps. Defaults to 0.
        bounds: The smallest and the largest value of an input; see `Classifier`. Defaults to
            (0.0, 1.0).

    Raises:
        ValueError: If the model is not built or has several inputs, or an argument is out of
            range.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> training = AdversarialTraining(model, 0.1)
        >>> training.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> x, y = np.random.default_rng(0).uniform(size=(8, 4)), np.arange(8) % 3
        >>> sorted(training.fit(x, y, epochs=2, verbose=0).history)
        ['accuracy', 'loss']

    References:
        Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to
        Adversarial Attacks, ICLR 2018.
    """

    def __init__(
        self,
        model: keras.Model,
        eps: float,
        *,
        eps_iter: float | None = None,
        max_iterations: int = 7,
        warmup_steps: int = 0,
        bounds: Any = (0.0, 1.0),
    ) -> None:
        super().__init__()
        if not isinstance(model, keras.Model):
            raise ValueError(f"`model` must be a built keras.Model. Received: {model!r}")
        require_fraction("eps", eps)
        require_whole("max_iterations", max_iterations)
        require_whole("warmup_steps", warmup_steps, minimum=0)
        self.eps = float(eps)
        self.eps_iter = min(2.5 * eps / max_iterations, eps) if eps_iter is None else eps_iter
        require_fraction("eps_iter", self.eps_iter)
        self.max_iterations = max_iterations
        self.warmup_steps = warmup_steps
        self.bounds = ranges.parse(bounds, geometry.input_shape(model))
        self.model = model
        self._seeds = keras.random.SeedGenerator()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, so that Keras can save the training with its classifier.

        Returns:
            A dict of them, as JSON can hold it.
        """
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "eps": self.eps,
            "eps_iter": self.eps_iter,
            "max_iterations": self.max_iterations,
            "warmup_steps": self.warmup_steps,
            "bounds": [np.asarray(bound).tolist() for bound in self.bounds],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AdversarialTraining":
        """Make one from the arguments that `get_config` returned.

        Args:
            config: The dict.

        Returns:
            The `AdversarialTraining`.
        """
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Run the classifier.

        Args:
            inputs: Inputs, (n, *input_shape).
            training: Whether its layers run as in training.

        Returns:
            What the classifier returns.
        """
        return self.model(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Attack a batch, and train on it.

        Args:
            data: A batch as `fit` gives it: inputs, labels and perhaps weights.

        Returns:
            The metrics by name.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        logs: dict[str, Any] = super().train_step((self.attack(x, y), y, sample_weight))
        return logs

    def attack(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Attack inputs, as `fit` does at this point of training.

        Args:
            x: Inputs within the bounds, (n, *input_shape).
            y: Their labels, as the loss takes them.

        Returns:
            The attacked inputs, float32, (n, *input_shape).
        """
        x = tf.cast(x, tf.float32)
        low, high = (np.asarray(bound, "float32") for bound in self.bounds)
        size = (high - low) * self._size()
        noise = keras.random.uniform(tf.shape(x), -1.0, 1.0, seed=self._seeds)
        nearest = tf.maximum(x - self.eps * size, low)
        farthest = tf.minimum(x + self.eps * size, high)

        def step(attacked: tf.Tensor) -> tuple[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(attacked)
                loss = self.compute_loss(x, y, self(attacked, training=False), training=False)
            moved = attacked + self.eps_iter * size * tf.sign(tape.gradient(loss, attacked))
            return (tf.clip_by_value(moved, nearest, farthest),)

        start = tf.clip_by_value(x + self.eps * size * noise, nearest, farthest)
        return tf.while_loop(
            lambda _: True, step, (start,), maximum_iterations=self.max_iterations
        )[0]

    def _size(self) -> float | tf.Tensor:
        """Return the part of the attack's size that training has reached, from 0 to 1."""
        if not self.warmup_steps:
            return 1.0
        steps = tf.cast(self.optimizer.iterations, tf.float32) + 1
        return tf.minimum(1.0, steps / self.warmup_steps)
