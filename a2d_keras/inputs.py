"""Validation of inputs: arrays and datasets of numbers within a classifier's bounds."""

import math
import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.validation import require

_TOLERANCE = 1e-6  # how far an input may exceed its bounds, as a fraction of their range
_AT_ONCE = 2**22  # values validated, or copied, at once, to limit memory
_DARK, _BRIGHT = 32, 255  # a maximum between these looks like pixels that were not scaled
_COUNTS: MutableMapping[tf.data.Dataset, int] = weakref.WeakKeyDictionary()  # of inputs, if known


class Summary(NamedTuple):
    """What is wrong with some inputs.

    Attributes:
        counts: The numbers of values that are not finite, of values outside the bounds, of
            inputs with such values, and of all inputs; int64, (4,).
        min: The smallest finite value, float32.
        max: The largest finite value, float32.
    """

    counts: Any
    min: Any
    max: Any


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
    x = _to_array(_only(x, classifier))
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


def validity(images: tf.Tensor, classifier: Classifier) -> tuple[tf.Tensor, Summary]:
    """Find the valid rows. Graph code.

    Args:
        images: Inputs, float32, (n, *input_shape).
        classifier: The `Classifier`.

    Returns:
        Which rows hold only finite values within the bounds, with a tolerance of 1e-6 of their
        range, bool, (n,); and a `Summary`.
    """
    low, high = classifier.bounds
    slack = _TOLERANCE * classifier.range
    finite = tf.math.is_finite(images)
    outside = finite & ((images < low - slack) | (images > high + slack))
    invalid = tf.reduce_any(~finite | outside, axis=list(range(1, len(images.shape))))
    counts = [tf.math.count_nonzero(mask) for mask in (~finite, outside, invalid)]
    return ~invalid, Summary(
        tf.stack([*counts, tf.shape(images, tf.int64)[0]]),
        tf.reduce_min(tf.where(finite, images, np.inf)),
        tf.reduce_max(tf.where(finite, images, -np.inf)),
    )


def require_valid(summary: Summary, classifier: Classifier) -> None:
    """Refuse inputs if any of them is invalid.

    Args:
        summary: Their `Summary`.
        classifier: The `Classifier`.

    Raises:
        ValueError: If an input is invalid. In a graph, `tf.errors.InvalidArgumentError` when it
            runs.
    """
    require(summary.counts[2] == 0, _sentence(summary, classifier))


def validate(x: Any, classifier: Classifier, *, refuse: bool = True) -> tf.Tensor:
    """Validate every value: an array in parts, to limit memory, and a tensor in a graph at once.

    Args:
        x: What `as_inputs` returns, but not a dataset.
        classifier: The `Classifier`.
        refuse: Whether to refuse invalid inputs. Defaults to True.

    Returns:
        Which rows are valid, bool, (n,).

    Raises:
        ValueError: If a value is not a finite number within the bounds, unless `refuse` is False.
            In a graph, `tf.errors.InvalidArgumentError` when it runs.
    """
    parts = [x] if not tf.executing_eagerly() else _parts(x)
    found = [validity(to_images(part, classifier), classifier) for part in parts]
    valid, summaries = zip(*found, strict=True)
    counts, low, high = zip(*summaries, strict=True)
    total = Summary(tf.add_n(counts), tf.reduce_min(low), tf.reduce_max(high))
    if refuse:
        require_valid(total, classifier)
    return tf.concat(valid, axis=0)


def _parts(x: Any) -> list[Any]:
    rows = _rows_at_once(x)
    return [x[start : start + rows] for start in range(0, max(len(x), 1), rows)]


def _rows_at_once(x: Any) -> int:
    values: int = math.prod(x.shape[1:])
    return max(1, _AT_ONCE // max(1, values))


def _sentence(summary: Summary, classifier: Classifier) -> tf.Tensor:
    low, high = classifier.bounds
    if isinstance(high, float):
        named = f"within the bounds ({low}, {high})"
        dark = high < _DARK  # the model
    else:
        named, dark = "within the bounds of each feature", False
    pixels = dark & (summary.min >= 0) & (summary.max > _DARK) & (summary.max <= _BRIGHT)
    template = "{} values that are not finite, {} outside the bounds, in {} of {} inputs"
    parts = [
        f"Inputs must be finite numbers {named}",
        tf.where(pixels, f", and these look like pixels from 0 to {_BRIGHT}", ""),
        "; scale them as for training, or set `bounds`. Received: ",
        tf.strings.format(template, tuple(tf.unstack(summary.counts))),
        tf.where(
            summary.min <= summary.max,
            tf.strings.format(", from {} to {}", (summary.min, summary.max)),
            "",
        ),
    ]
    return tf.strings.join(parts)


def clip(images: tf.Tensor, classifier: Classifier) -> tf.Tensor:
    """Convert valid inputs to what the model sees. Graph code.

    Args:
        images: Valid inputs, float32.
        classifier: The `Classifier`.

    Returns:
        The inputs, clipped to the bounds, which changes them by less than 1e-6 of their range,
        and truncated if the model declares whole numbers, as Keras does.
    """
    images = tf.clip_by_value(images, *classifier.bounds)
    if classifier.dtype.is_floating:
        return images
    return tf.cast(tf.cast(images, classifier.dtype), tf.float32)


def checked(x: Any, classifier: Classifier) -> tf.Tensor:
    """Turn an array or tensor into inputs that attacks can take, or refuse it.

    Args:
        x: Numbers, as for `as_inputs`, but not a dataset.
        classifier: The `Classifier`.

    Returns:
        The inputs, float32, as `clip` returns them.

    Raises:
        ValueError: If a value is not a finite number within the bounds, or the shape is wrong. In
            a graph, `tf.errors.InvalidArgumentError`.
    """
    images = to_images(x, classifier)
    require_valid(validity(images, classifier)[1], classifier)
    return clip(images, classifier)


def batches(
    x: Any, classifier: Classifier, size: int, *, validated: bool = False
) -> Iterator[tf.Tensor]:
    """Yield inputs in batches of one size. The last batch may be smaller.

    Args:
        x: Inputs, as for `as_inputs`.
        classifier: The `Classifier`.
        size: Inputs in a batch.
        validated: Whether their values were validated before. Defaults to False.

    Yields:
        Checked inputs, float32, (size, *input_shape).

    Raises:
        ValueError: As for `checked`, if `x` is an array.
        tf.errors.InvalidArgumentError: As for `checked`, if `x` is a dataset.
    """

    def ready(part: Any) -> tf.Tensor:
        return clip(to_images(part, classifier), classifier)

    x = as_inputs(x, classifier)
    if not is_dataset(x):
        if not validated:
            validate(x, classifier)  # all of them, before any work is done
        for start in range(0, max(len(x), 1), size):
            yield ready(x[start : start + size])
        return
    images = None
    convert = ready if validated else lambda part: checked(part, classifier)
    for images in _untuned(x.map(convert).rebatch(size)):
        yield images
    if images is None:
        yield tf.zeros([0, *(side or 1 for side in classifier.input_shape)])


def first(x: Any, classifier: Classifier, max_count: int) -> np.ndarray:
    """Return the first inputs.

    Args:
        x: Inputs, as for `as_inputs`.
        classifier: The `Classifier`.
        max_count: The largest number of inputs to return.

    Returns:
        Checked inputs, float32, (at most `max_count`, *input_shape).
    """
    if not is_dataset(x):
        return np.asarray(checked(_to_array(_only(x, classifier))[:max_count], classifier))
    return np.asarray(next(batches(x, classifier, max_count)))


def every_other(x: Any, classifier: Classifier, max_count: int) -> np.ndarray:
    """Return the first input, the third, and so on.

    Args:
        x: Inputs, as for `as_inputs`.
        classifier: The `Classifier`.
        max_count: The largest number of inputs to return.

    Returns:
        Checked inputs, float32, (at most `max_count`, *input_shape).
    """
    return first(x, classifier, 2 * max_count)[::2]


class Checked(NamedTuple):
    """Inputs that were validated, and the result.

    Attributes:
        x: Inputs, an array or tensor, (n, *input_shape).
        invalid: Which of them are invalid, bool, (n,).
    """

    x: Any
    invalid: tf.Tensor


def to_dataset(checked: Checked, size: int) -> tf.data.Dataset:
    """Cut inputs into batches, as `keras.Model.predict` would, but without its wait.

    Args:
        checked: The inputs.
        size: Inputs in a batch, at least 1.

    Returns:
        A dataset of `Checked` batches. Floating-point numbers are cast to Keras's `floatx`, and
        others are not changed.
    """
    sizes = size * max(1, _rows_at_once(checked.x) // size), size
    if len(checked.x) <= sizes[0]:
        return _untuned(_batched(_in_floatx(checked), size))
    batches = -(-len(checked.x) // size)
    return _untuned(
        _parted(checked, *sizes).apply(tf.data.experimental.assert_cardinality(batches))
    )


def _parted(checked: Checked, rows: int, size: int) -> tf.data.Dataset:
    """Cut into batches part after part. At once, TensorFlow would copy all inputs, twice."""

    def parts() -> Iterator[Checked]:
        for start in range(0, len(checked.x), rows):
            yield _in_floatx(Checked(*(part[start : start + rows] for part in checked)))

    specs = [tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in next(parts())]
    made = tf.data.Dataset.from_generator(parts, output_signature=Checked(*specs))
    return made.flat_map(lambda part: _batched(part, size))


def _batched(checked: Checked, size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(checked).batch(size)


def _in_floatx(checked: Checked) -> Checked:
    if not tf.as_dtype(checked.x.dtype).is_floating:
        return checked
    return checked._replace(x=tf.cast(checked.x, keras.config.floatx()))


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
        lambda: (_only(_first_of(x[batch]), classifier) for batch in range(x.num_batches)),
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


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch tf.data's autotuning off: at its end, a dataset waits for its thread."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _only(x: Any, classifier: Classifier) -> Any:
    """Take inputs out of a dict or list that holds nothing else."""
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


def _to_array(x: Any) -> Any:
    """Turn whatever holds numbers into an array, unless it is a tensor already."""
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
