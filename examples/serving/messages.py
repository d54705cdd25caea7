"""What clients send and get: JSON, in both forms of TensorFlow Serving, and images in base64."""

import base64
import io
from typing import NamedTuple

import numpy as np
import pydantic_core
from fastapi import HTTPException
from PIL import Image
from PIL.Image import DecompressionBombError as _Bomb

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FORMS = {"inputs": "outputs", "instances": "predictions"}
_EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


class Asked(NamedTuple):
    """A request.

    Attributes:
        inputs: An array, a row for each input.
        form: `"inputs"`, answered by columns, or `"instances"`, answered by rows.
    """

    inputs: np.ndarray
    form: str


def read(body, model, max_inputs):
    """Turn a body into inputs.

    Args:
        body: Bytes of JSON, `{"inputs": [...]}` or `{"instances": [...]}`. An input is an array of
            numbers, or `{"b64": "..."}`, a PNG or JPEG file.
        model: The `Exported` model.
        max_inputs: The largest number of inputs.

    Returns:
        An `Asked`.

    Raises:
        HTTPException: If the body is not of this kind (400), has too many inputs (413), or they
            are not the model's (422).
    """
    try:
        document = pydantic_core.from_json(body)
        ((form, rows),) = document.items()
        _FORMS[form]
    except (ValueError, AttributeError, KeyError) as error:
        sentence = 'The body must be JSON, {"inputs": [...]} or {"instances": [...]}.'
        raise HTTPException(400, f"{sentence} Received: {body[:80]}, {error!r}") from error
    if isinstance(rows, list) and len(rows) > max_inputs:
        sentence = f"A request may hold at most {max_inputs} inputs; send several."
        raise HTTPException(413, f"{sentence} Received: {len(rows)} inputs")
    if isinstance(rows, list) and any(isinstance(row, dict) for row in rows):
        rows = [_image(row, model) for row in rows]
    return Asked(_array(rows, model.input), form)


def write(outputs, form):
    """Turn the outputs for a request into JSON: columns or rows, with null for what is not finite.

    Args:
        outputs: A dict of arrays.
        form: The form of the request.

    Returns:
        Bytes.
    """
    answer = {name: values.tolist() for name, values in outputs.items()}
    if form == "instances":
        answer = [dict(zip(answer, row, strict=True)) for row in zip(*answer.values(), strict=True)]
    return pydantic_core.to_json({_FORMS[form]: answer}, inf_nan_mode="null")


def schemas(model):
    """Describe the bodies, for OpenAPI.

    Args:
        model: The `Exported` model.

    Returns:
        The JSON schemas of a request and of an answer.
    """
    file = {"type": "object", "required": ["b64"], "properties": {"b64": {"type": "string"}}}
    an_input = {"anyOf": [_nested(model.input.shape[1:], {"type": "number"}), file]}
    rows = {name: _nested(s.shape[1:], _item(s.dtype)) for name, s in model.outputs.items()}
    columns = {name: {"type": "array", "items": row} for name, row in rows.items()}
    asked = {form: {"type": "array", "items": an_input} for form in _FORMS}
    answers = {
        "outputs": {"type": "object", "properties": columns},
        "predictions": {"type": "array", "items": {"type": "object", "properties": rows}},
    }
    return tuple(
        {"oneOf": [_object(name, schema) for name, schema in each.items()]}
        for each in (asked, answers)
    )


def _object(name, schema):
    return {"type": "object", "required": [name], "properties": {name: schema}}


def _nested(shape, item):
    for side in reversed(shape):
        sides = {"minItems": side, "maxItems": side} if side else {}
        item = {"type": "array", "items": item, **sides}
    return item


def _item(dtype):
    if dtype.is_bool:
        return {"type": "boolean"}
    return {"type": "integer"} if dtype.is_integer else {"type": ["number", "null"]}


def _array(rows, spec):
    try:
        array = np.asarray(rows)
    except ValueError as error:
        sentence = "Inputs must be numbers, in arrays of one shape."
        raise HTTPException(400, f"{sentence} Received: {error}") from error
    if array.dtype.kind not in "iuf" or not spec.shape.is_compatible_with(array.shape):
        shape = array.shape
        sentence = f"Inputs must be numbers of the shape {spec.shape}."
        raise HTTPException(422, f"{sentence} Received: {array.dtype}, {shape}")
    with np.errstate(over="ignore"):  # a number too large becomes infinite, which is refused
        return array.astype(spec.dtype.as_numpy_dtype)


def _image(row, model):
    """Decode an image, and scale its pixels from 0 to 255 to the model's bounds."""
    shape = model.input.shape[1:]
    if len(shape) != 3 or shape[-1] not in _MODES:
        raise HTTPException(
            422, f"This model takes no images but numbers. Received: {str(row)[:80]}"
        )
    try:
        image = Image.open(
            io.BytesIO(base64.b64decode(row["b64"], validate=True)), "r", ("PNG", "JPEG")
        )
        size = (image.height, image.width, shape[-1])
        if not shape.is_compatible_with(size) or image.mode not in _EIGHT_BITS:
            sentence = f"An image must have the size {shape[:2]}, and 8 bits a channel."
            raise HTTPException(422, f"{sentence} Received: {size[:2]}, {image.mode}")
        pixels = np.asarray(image.convert(_MODES[shape[-1]]), "float32")
    except (TypeError, KeyError, ValueError, SyntaxError, OSError, _Bomb) as error:
        sentence = 'An image must be {"b64": "..."}, a PNG or JPEG file in base64.'
        raise HTTPException(422, f"{sentence} Received: {str(row)[:80]}, {error!r}") from error
    low, high = model.bounds
    return low + pixels.reshape(size) / 255 * (high - low)
