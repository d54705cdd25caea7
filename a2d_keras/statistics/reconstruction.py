"""MagNet's detector: how badly an autoencoder of benign inputs reconstructs an input."""

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.statistics import views
from a2d_keras.statistics.base import State, Statistic, Tensors
from a2d_keras.statistics.view import View
from a2d_keras.validation import require_positive

if TYPE_CHECKING:
    from typing_extensions import Self

_SIDE = 3  # of the window that a pixel is predicted from
_MAX_UNITS = 64  # in the hidden layer of an autoencoder for other inputs than images
_MAX_INPUTS = 1000  # benign inputs to learn from
_MAX_WINDOWS = 2**19  # to limit memory
_RIDGE = 1e-3  # of the noise's variance, for when windows are few


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction(Statistic):
    """The error of an autoencoder that knows benign inputs only (MagNet; Meng, Chen 2017).

    It is the mean of |x - autoencoder(x)|^p, in units of the input range.

    By default `fit` learns a linear denoising autoencoder by least squares: it predicts clean
    inputs from noisy ones. For images it is one 3×3 convolution, clipped to the input range. It
    suits images of any size, and 150 of them are enough. For other inputs it has up to 64 hidden
    units. On few inputs this finds more attacks than the networks of MagNet, in less time.

    It reads pixels only, so benign noise raises it as well. On MNIST, whose background is exactly
    zero, noise with a standard deviation of 2/255 flags every image; on CIFAR-10, 4/255 does. With
    a larger `noise` fewer are flagged, and fewer weak perturbations are found.

    Args:
        autoencoder: A trained `keras.Model` that takes the classifier's inputs, within its bounds,
            and returns arrays of the same shape. It is saved with its weights. Defaults to None,
            which stands for the one above.
        p: The power of the absolute error; a larger one favours a few large errors. Defaults
            to 2.
        noise: The standard deviation of the noise that the default autoencoder takes away, as a
            fraction of the input range. Defaults to 0.025.
        tail: Which values are suspicious. Defaults to `"high"`.

    Raises:
        ValueError: If `autoencoder` is not a built `keras.Model`, or another parameter is out of
            range.

    Examples:
        >>> Reconstruction(noise=0.1).p
        2
    """

    autoencoder: keras.Model | None = None
    p: float = 2
    noise: float = 0.025
    tail: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("p", self.p)
        require_positive("noise", self.noise)
        model = self.autoencoder
        if model is not None and not (isinstance(model, keras.Model) and model.built):
            raise ValueError(
                f"`autoencoder` must be a built `keras.Model` or None. Received: {model}"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reconstruction):
            return False
        configs = (json.dumps(each.get_config(), sort_keys=True) for each in (self, other))
        return len({*configs}) == 1

    def __hash__(self) -> int:
        return hash((type(self), self.p, self.noise, self.tail))

    def require(self, classifier: Classifier) -> None:
        """Refuse inputs that the autoencoder cannot reconstruct; see `Statistic.require`."""
        shape = classifier.input_shape
        if self.autoencoder is not None:
            returned = _output_shape(self.autoencoder, shape)
            if returned is None or not returned.is_compatible_with((None, *shape)):
                raise ValueError(
                    "`autoencoder` must take the classifier's inputs and return one array of the "
                    f"same shape. Received: {returned} for inputs of shape {shape}"
                )
        elif not classifier.takes_images and None in shape:
            raise ValueError(
                "The default autoencoder needs images, or inputs of one size; give an "
                f"`autoencoder`. Received: inputs of shape {shape}"
            )

    def initial_state(self, classifier: Classifier) -> State:
        """Return zeros of the right shapes, or the weights of the user's autoencoder."""
        if self.autoencoder is not None:
            return _weights(self.autoencoder)
        if classifier.takes_images:
            channels = classifier.channels or 1
            return {
                "kernel": np.zeros((_SIDE, _SIDE, channels, channels), "float32"),
                "bias": np.zeros(channels, "float32"),
            }
        width = math.prod(side or 1 for side in classifier.input_shape)
        units = min(width, _MAX_UNITS)
        return {
            "mean": np.zeros(width, "float32"),
            "encoder": np.zeros((width, units), "float32"),
            "decoder": np.zeros((units, width), "float32"),
        }

    def fit(
        self, classifier: Classifier, benign: Any, false_positive_rate: float, slots: int | str
    ) -> State:
        """Learn an autoencoder, or take the user's; see `Statistic.fit`."""
        if self.autoencoder is not None:
            return _weights(self.autoencoder)
        view = View.of(classifier, tf.constant(inputs.first(benign, classifier, _MAX_INPUTS)))
        if classifier.takes_images:
            return _convolution(views.pixels(view).numpy(), self.noise)
        x = views.scaled(view).numpy()
        return _projection(x.reshape(len(x), -1).astype("float64"), self.noise)

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the error; see `Statistic.measure`."""
        if self.autoencoder is not None:
            errors = _errors_of_model(self.autoencoder, view, state)
        elif view.classifier.takes_images:
            errors = _errors_of_convolution(view, state)
        else:
            errors = _errors_of_projection(view, state)
        powers = tf.reshape(tf.abs(errors) ** self.p, [tf.shape(errors)[0], -1])
        values = tf.reduce_mean(powers, axis=-1)
        return tf.where(tf.math.is_finite(values), values, tf.float32.max)

    def get_config(self) -> dict[str, Any]:
        """Return the parameters, and the weights of the user's autoencoder."""
        config = super().get_config()
        if self.autoencoder is not None:
            config["weights"] = keras.saving.serialize_keras_object(_weights(self.autoencoder))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        """Make a statistic from what `get_config` returned."""
        config = dict(config)
        weights = config.pop("weights", None)
        statistic = super().from_config(config)
        if statistic.autoencoder is not None:
            values = keras.saving.deserialize_keras_object(weights)
            statistic.autoencoder.set_weights(list(values.values()))
        return statistic


def _convolution(images: np.ndarray, noise: float) -> State:
    """Find the convolution that best predicts clean pixels from noisy windows around them.

    The noise is clipped, as inputs are. So the convolution learns that values just above the lower
    bound are noise, and clipping what it returns takes them away.
    """
    generator = np.random.default_rng(0)
    stride = math.ceil(math.sqrt(max(1, images[..., 0].size / _MAX_WINDOWS)))
    width, channels = _SIDE**2 * images.shape[-1], images.shape[-1]
    parts = []
    for image in images:
        noisy = np.clip(image + noise * generator.standard_normal(image.shape), 0, 1)
        windows = _windows(noisy)[::stride, ::stride].reshape(-1, width)
        pixels = image[::stride, ::stride].reshape(-1, channels)
        parts.append(np.concatenate([windows, pixels], axis=1))
    values = np.concatenate(parts)
    mean, covariance = values.mean(axis=0), np.cov(values.T, bias=True)
    known = covariance[:width, :width] + _RIDGE * noise**2 * np.eye(width)
    weights = np.linalg.solve(known, covariance[:width, width:])
    return {
        "kernel": weights.reshape(_SIDE, _SIDE, channels, channels).astype("float32"),
        "bias": (mean[width:] - mean[:width] @ weights).astype("float32"),
    }


def _windows(image: np.ndarray) -> np.ndarray:
    """Return the window around each pixel of (rows, columns, channels); edges are repeated."""
    border = _SIDE // 2
    wide = np.pad(image, ((border, border), (border, border), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (_SIDE, _SIDE), axis=(0, 1))
    return np.moveaxis(windows, 2, -1)


def _projection(x: np.ndarray, noise: float) -> State:
    """Find the projection on principal axes, shrunk as noise asks."""
    mean, units = x.mean(axis=0), min(x.shape[1], _MAX_UNITS)
    _, lengths, axes = np.linalg.svd(x - mean, full_matrices=False)
    variances = lengths[:units] ** 2 / len(x)
    gains = np.zeros(units)
    gains[: len(variances)] = variances / (variances + noise**2)
    encoder = np.zeros((x.shape[1], units))
    encoder[:, : len(variances)] = axes[:units].T
    return {
        "mean": mean.astype("float32"),
        "encoder": encoder.astype("float32"),
        "decoder": (gains[:, None] * encoder.T).astype("float32"),
    }


def _errors_of_convolution(view: View, state: Tensors) -> tf.Tensor:
    images = views.pixels(view)
    wide = _widened(_widened(images, 1), 2)
    found = tf.nn.conv2d(wide, state["kernel"], strides=1, padding="VALID") + state["bias"]
    found = tf.reshape(found, tf.shape(images))  # some processors lose the shape of no images
    return images - tf.clip_by_value(found, 0.0, 1.0)


def _widened(images: tf.Tensor, axis: int) -> tf.Tensor:
    """Repeat the edges; `tf.pad` mirrors, and not images that are smaller than its border."""
    size, border = tf.shape(images)[axis], _SIDE // 2
    places = tf.clip_by_value(tf.range(-border, size + border), 0, size - 1)
    return tf.gather(images, places, axis=axis)


def _errors_of_projection(view: View, state: Tensors) -> tf.Tensor:
    scaled = views.scaled(view)
    x = tf.reshape(scaled, [tf.shape(scaled)[0], -1]) - state["mean"]
    return x - (x @ state["encoder"]) @ state["decoder"]


def _errors_of_model(model: keras.Model, view: View, state: Tensors) -> tf.Tensor:
    classifier = view.classifier
    x = classifier.from_unit(view.x)
    given = {id(weight): state[_name(i)] for i, weight in enumerate(model.weights)}
    trainable, fixed = (
        [given[id(v)] if id(v) in given else _constant(v) for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    found, _ = model.stateless_call(trainable, fixed, x, training=False)
    return (x - tf.cast(found, tf.float32)) / classifier.range


def _constant(variable: keras.Variable) -> np.ndarray:
    """Return the value of a variable that is no weight, such as the state of a dropout."""
    with tf.init_scope():
        return np.asarray(keras.ops.convert_to_numpy(variable))


def _weights(model: keras.Model) -> State:
    return {_name(i): value for i, value in enumerate(model.get_weights())}


def _name(place: int) -> str:
    return f"weight_{place}"


def _output_shape(model: keras.Model, shape: tuple[int | None, ...]) -> tf.TensorShape | None:
    """Return the shape of what a model computes, or None if it is not one array."""
    run = tf.function(lambda x: model(x, training=False), autograph=False)
    try:
        graph = run.get_concrete_function(tf.TensorSpec((None, *shape), tf.float32))
    except (TypeError, ValueError, tf.errors.OpError):
        return None
    shapes = [output.shape for output in graph.outputs]
    return shapes[0] if len(shapes) == 1 else None
