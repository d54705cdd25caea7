"""Serve a guarded classifier over HTTP: `python -m examples.serving.service MODEL`.

MODEL is the folder that `guarded.export` wrote. The service needs neither Keras nor a2d-keras.
"""

import argparse
import json
import re
from typing import Annotated

import numpy as np
import tensorflow as tf
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.requests import ClientDisconnect

MAX_BYTES = 2**20
# A client hears no answer while it sends, so up to this many times the limit is read and dropped.
_MAX_DROPPED = 16


def create_app(model, max_bytes=MAX_BYTES):
    """Make the service.

    Args:
        model: The folder that `guarded.export` wrote.
        max_bytes: The largest body to read. Defaults to 1 MiB.

    Returns:
        The FastAPI app: POST `/detect` and GET `/health`.
    """
    exported = tf.saved_model.load(model)  # must outlive its signatures
    serve = exported.signatures["serve"]
    ((name, spec),) = serve.structured_input_signature[1].items()
    app = FastAPI(title="a2d-keras")
    app.state.exported = exported

    async def read(request: Request):
        body, size = bytearray(), 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size <= max_bytes:
                    body += chunk
                elif size > _MAX_DROPPED * max_bytes:
                    break
        except ClientDisconnect as error:
            raise HTTPException(400, f"The body ended too early. Received: {size} bytes") from error
        if size > max_bytes:
            sentence = f"A body may hold at most {max_bytes} bytes; send fewer inputs."
            raise HTTPException(413, f"{sentence} Received: {size} bytes or more")
        return bytes(body)

    @app.get("/health")
    def health():
        return {"status": "ok"}

    @app.post("/detect")
    def detect(body: Annotated[bytes, Depends(read)]):  # not async: FastAPI runs it in a thread
        inputs = _inputs(body, spec)
        try:
            outputs = serve(**{name: tf.constant(inputs)})
        except tf.errors.InvalidArgumentError as error:
            raise HTTPException(422, _sentence(error)) from error
        return {"outputs": {key: _to_json(value.numpy()) for key, value in outputs.items()}}

    return app


def _inputs(body, spec):
    try:
        inputs = json.loads(body)["inputs"]
        array = np.asarray(inputs)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        sentence = 'The body must be JSON, {"inputs": [...]}, an array of numbers for each input.'
        raise HTTPException(400, f"{sentence} Received: {body[:80]}, {error!r}") from error
    if array.dtype.kind not in "iuf" or not spec.shape.is_compatible_with(array.shape):
        raise HTTPException(
            422,
            f"Inputs must be numbers of the shape {spec.shape}. "
            f"Received: {array.dtype}, {tf.TensorShape(array.shape)}",
        )
    with np.errstate(over="ignore"):  # a number too large becomes infinite, which is refused
        return array.astype(spec.dtype.as_numpy_dtype)


def _sentence(error):
    """Find the model's own sentence on refused inputs. Any other error is the service's fault."""
    found = re.search(r"assertion failed: \[(.*)\]", error.message)
    if found is None:
        raise error
    return found[1]


def _to_json(values):
    """Turn an array into lists, with null for NaN and infinities, which JSON lacks."""
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values.astype(object), None)
    return values.tolist()


def main():
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m examples.serving.service", description=__doc__)
    parser.add_argument("model", help="the folder that guarded.export wrote")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-bytes", "--most-bytes", type=int, default=MAX_BYTES)
    options = parser.parse_args()
    app = create_app(options.model, options.max_bytes)
    uvicorn.run(app, host=options.host, port=options.port)


if __name__ == "__main__":
    main()
