"""The forms that inputs come in: an array, a tensor, a list, a dict, a dataset."""

import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier

_COUNTS: MutableMapping[tf.data.Dataset, int] = weakref.WeakKeyDictionary()  # of inputs, if known


def as_inputs(x: Any, classifier: Classifier) -> Any:
    """Convert inputs to an array, a tensor or a dataset, or refuse them.

    Args:
        x: Numbers, (n, *input_shape); or a list with this one array; or a dict with it under the
            name of the model's input; or a `tf.data.Dataset` of such batches, alone or as the
            first of a tuple.
        classifier: The `Classifier`.

    Returns:
        A NumPy array, a tensor, or a dataset whose elements are batches of inputs. Values are not
        checked; see `validate`.

    Raises:
        ValueError: If `x` does not hold real numbers of that shape. In a graph, as of a dataset
            or an exported model, `tf.errors.InvalidArgumentError`.
    """
    if is_dataset(x):
        require_dataset(x, classifier)
        return _images_alone(x)
    x = to_array(only(x, classifier))
    require_spec(x, classifier, in_graph=not tf.executing_eagerly())
    return x


def to_images(x: Any, classifier: Classifier) -> tf.Tensor:
    """Turn an array or tensor into the float32 tensor that attacks take.

    Args:
        x: Numbers, as for `as_inputs`, but not a dataset.
        classifier: The `Classifier`.

    Returns:
        The same numbers, float32.

    Raises:
        ValueError: As for `as_inputs`.
    """
    images = tf.cast(as_inputs(x, classifier), tf.float32)
    return tf.ensure_shape(images, (None, *classifier.input_shape))


def is_dataset(x: Any) -> bool:
    """Return whether inputs are a `tf.data.Dataset`.

    Args:
        x: The inputs.

    Returns:
        Whether `x` is a dataset.
    """
    return isinstance(x, tf.data.Dataset)


def count(x: Any) -> int | None:
    """Return the number of inputs, without reading them.

    Args:
        x: An array, a tensor or a `tf.data.Dataset`.

    Returns:
        The number, or None for a dataset whose inputs nobody has counted; see `remember_count`.
    """
    return _COUNTS.get(x) if is_dataset(x) else len(x)


def remember_count(x: Any, number: int) -> None:
    """Let `count` know how many inputs a dataset has.

    Args:
        x: Inputs; nothing is done unless it is a `tf.data.Dataset`.
        number: The number of inputs.
    """
    if is_dataset(x):
        _COUNTS[x] = number


def readable(x: Any, classifier: Classifier) -> Any:
    """Turn a `keras.utils.PyDataset` into a dataset, and refuse what can be read only once.

    Args:
        x: Inputs, as for `as_inputs`, or a `PyDataset` of batches of them, alone or as the first
            of a tuple.
        classifier: The `Classifier`.

    Returns:
        Inputs, as for `as_inputs`.

    Raises:
        ValueError: If `x` is a generator or another iterator, or a `PyDataset` without an end.
    """
    if isinstance(x, Iterator):
        raise ValueError(
            "Inputs are read more than once: give an array, or a dataset, such as from "
            f"`tf.data.Dataset.from_generator`. Received: {type(x).__name__}"
        )
    if not isinstance(x, keras.utils.PyDataset):
        return x
    if x.num_batches is None:
        raise ValueError(f"A PyDataset must have an end. Received: {type(x).__name__}")
    return tf.data.Dataset.from_generator(
        lambda: (only(_first_of(x[batch]), classifier) for batch in range(x.num_batches)),
        output_signature=tf.TensorSpec((None, *classifier.input_shape), tf.float32),
    )


def require_dataset(x: tf.data.Dataset, classifier: Classifier) -> None:
    """Refuse a dataset whose batches are not a classifier's inputs, before any is read.

    Args:
        x: A dataset of batches of inputs, alone or as the first of a tuple.
        classifier: The `Classifier`.

    Raises:
        tf.errors.InvalidArgumentError: If their dtype or shape does not fit.
    """
    spec = _first_of(x.element_spec)
    if isinstance(spec, dict) and _is_named(spec, classifier):
        (spec,) = spec.values()
    if not isinstance(spec, tf.TensorSpec):
        sentence = (
            "A dataset must hold batches of inputs, alone, as the first of a tuple, or in a dict "
            f"under the name of the model's input, {sorted(classifier.input_names)}. "
            f"Received: {spec}"
        )
        raise tf.errors.InvalidArgumentError(None, None, sentence)
    require_spec(spec, classifier, in_graph=True)


def require_spec(x: Any, classifier: Classifier, in_graph: bool) -> None:
    """Refuse inputs that are not real numbers of a classifier's input shape.

    Args:
        x: Anything with a `dtype` and a `shape`.
        classifier: The `Classifier`.
        in_graph: Whether the inputs come through a graph.

    Raises:
        ValueError: If `x` does not fit. In a graph, `tf.errors.InvalidArgumentError`.
    """
    shape = tf.TensorShape([None, *classifier.input_shape])
    if not _is_real(x.dtype):
        sentence = f"Inputs must be real numbers. Received: {x.dtype}"
    elif not shape.is_compatible_with(x.shape):
        sentence = f"Inputs must have the shape {shape}. Received: {tf.TensorShape(x.shape)}"
    else:
        return
    raise tf.errors.InvalidArgumentError(None, None, sentence) if in_graph else ValueError(sentence)


def _first_of(element: Any) -> Any:
    return element[0] if isinstance(element, tuple) and element else element


def _images_alone(x: tf.data.Dataset) -> tf.data.Dataset:
    if isinstance(x.element_spec, tf.TensorSpec):
        return x

    def images(*element: Any) -> tf.Tensor:
        first = element[0]
        return next(iter(first.values())) if isinstance(first, dict) else first

    alone = x.map(images)
    if x in _COUNTS:
        _COUNTS[alone] = _COUNTS[x]
    return alone


def only(x: Any, classifier: Classifier) -> Any:
    """Take inputs out of a dict or list that holds nothing else.

    Args:
        x: Anything.
        classifier: The `Classifier`.

    Returns:
        The inputs, or `x` itself.

    Raises:
        ValueError: If it is a dict with other names than that of the model's input.
    """
    if isinstance(x, dict):
        if not _is_named(x, classifier):
            raise ValueError(
                "A dict of inputs must have one key, the name of the model's input, "
                f"{sorted(classifier.input_names)}. Received: {sorted(x)}"
            )
        (x,) = x.values()
    elif isinstance(x, (list, tuple)) and len(x) == 1:
        is_batch = len(getattr(x[0], "shape", ())) == 1 + len(classifier.input_shape)
        return x[0] if is_batch else x
    return x


def _is_named(x: dict[str, Any], classifier: Classifier) -> bool:
    return len(x) == 1 and set(x) <= (classifier.input_names or set(x))


def to_array(x: Any) -> Any:
    """Turn whatever holds numbers into an array, unless it is a tensor already.

    Args:
        x: Anything.

    Returns:
        A NumPy array or a tensor.

    Raises:
        ValueError: If it is no array.
    """
    try:
        return tf.convert_to_tensor(x) if tf.is_tensor(x) else np.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Inputs must be real numbers in one array, all of the same shape. "
            f"Received: {type(x).__name__}"
        ) from error


def _is_real(dtype: Any) -> bool:
    try:
        dtype = tf.as_dtype(dtype)  # an object array becomes a string
    except TypeError:  # such as NumPy's dates
        return False
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_bool)
