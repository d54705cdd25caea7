"""Serve a guarded classifier over HTTP: `python -m examples.serving.service MODEL`.

MODEL is the folder that `guarded.export` wrote. The service needs neither Keras nor a2d-keras.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import time
import uuid

import prometheus_client
import uvicorn
from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from pythonjsonlogger.core import RESERVED_ATTRS
from starlette.requests import ClientDisconnect

from examples.serving import messages
from examples.serving.batching import Batcher
from examples.serving.exported import Exported
from examples.serving.metrics import Metrics

# A client hears no answer while it sends, so up to this many times the limit is read and dropped.
_MAX_DROPPED = 16
_FAILED = "The service has failed; its log says why."
_SECONDS_TO_STOP = 30

log = logging.getLogger("a2d")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What clients may ask for.

    Args:
        max_bytes: The largest body to read. Defaults to 8 MiB: an image of 224 x 224 x 3 takes up
            to 3 MiB as JSON.
        max_inputs: The largest number of inputs in a request. Defaults to 64.
        max_waiting: The largest number of requests that are read or wait. Defaults to 256.
    """

    max_bytes: int = 8 * 2**20
    max_inputs: int = 64
    max_waiting: int = 256


class Refusal(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


class Service:
    """What answers requests.

    Args:
        model: The `Exported` model.
        limits: The `Limits`.
    """

    def __init__(self, model, limits):
        self.model, self.limits = model, limits
        self.metrics = Metrics()
        self.batcher = Batcher(model, limits.max_inputs, self.metrics.batches.observe)
        self.warm, self.waiting = False, 0

    @contextlib.asynccontextmanager
    async def lifespan(self, app):
        """Warm up and work while the service runs. It stops when all requests are answered."""
        self.worker = asyncio.create_task(self._work())
        yield
        self.worker.cancel()

    async def detect(self, request: Request):
        """Judge inputs: `{"inputs": [...]}`, answered by column, or `{"instances": [...]}`, by row.

        An input is an array of numbers, or a PNG or JPEG file in base64, `{"b64": "..."}`.
        """
        self.health()  # or nobody would answer
        with self._admitted():
            body = await self._body(request)
            asked = await run_in_threadpool(messages.read, body, self.model, self.limits.max_inputs)
            try:
                outputs = await self.batcher(asked.inputs)
            except ValueError as error:
                raise HTTPException(422, str(error)) from error
        flagged = self.metrics.judged(outputs)
        request.state.verdicts = {"inputs": len(asked.inputs), "flagged": flagged}
        answer = await run_in_threadpool(messages.write, outputs, asked.form)
        return Response(answer, media_type="application/json")

    def health(self):
        """Say whether the service works. If not, restart it."""
        if self.worker.done():
            raise HTTPException(503, _FAILED)
        return {"status": "ok"}

    def ready(self):
        """Say whether the model is warm. If not, send no requests yet."""
        if not self.warm:
            raise HTTPException(503, "The model is warming up.")
        return self.health()

    def scrape(self):
        """Give the metrics to Prometheus."""
        return Response(self.metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def observed(self, request, answer):
        """Count and log a request."""
        start, name = time.perf_counter(), request.headers.get("x-request-id") or uuid.uuid4().hex
        request.state.verdicts = {}
        status = 500
        try:
            response = await answer(request)
            status = response.status_code
            response.headers["x-request-id"] = name
            return response
        finally:
            seconds = time.perf_counter() - start
            path = getattr(request.scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(seconds)
            said = {"request": name, "path": path, "status": status, "seconds": round(seconds, 6)}
            level = logging.INFO if request.method == "POST" else logging.DEBUG
            log.log(level, "answered", extra={**said, **request.state.verdicts})

    async def _work(self):
        try:
            await asyncio.to_thread(self.model.warm_up, 1, self.limits.max_inputs)
        except ValueError as error:
            log.warning("warmed up with inputs that the model refuses", extra={"why": str(error)})
        except Exception:
            log.exception("failed to warm up")
            self.batcher.close(HTTPException(503, _FAILED))
            raise
        self.warm = True
        log.info("ready", extra={"model": self.model.name})
        await self.batcher.work()

    @contextlib.contextmanager
    def _admitted(self):
        if self.waiting >= self.limits.max_waiting:
            sentence = f"At most {self.limits.max_waiting} requests may wait; try again later."
            raise HTTPException(503, sentence, {"Retry-After": "1"})
        self.waiting += 1
        try:
            with self.metrics.waiting.track_inprogress():
                yield
        finally:
            self.waiting -= 1

    async def _body(self, request):
        body, size, most = bytearray(), 0, self.limits.max_bytes
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size <= most:
                    body += chunk
                elif size > _MAX_DROPPED * most:
                    break
        except ClientDisconnect as error:
            raise HTTPException(400, f"The body ended too early. Received: {size} bytes") from error
        if size > most:
            sentence = f"A body may hold at most {most} bytes; send fewer inputs."
            raise HTTPException(413, f"{sentence} Received: {size} bytes or more")
        return bytes(body)


def create_app(model, limits=Limits()):
    """Make the app: see its `/docs`.

    Args:
        model: The `Exported` model.
        limits: The `Limits`. Defaults to `Limits()`.

    Returns:
        The FastAPI app.
    """
    service = Service(model, limits)
    app = FastAPIOffline(title="a2d-keras", lifespan=service.lifespan)
    app.middleware("http")(service.observed)
    app.get("/health")(service.health)
    app.get("/ready")(service.ready)
    app.get("/metrics")(service.scrape)
    asked, answer = (
        {"content": {"application/json": {"schema": schema}}} for schema in messages.schemas(model)
    )
    responses = {status: {"model": Refusal} for status in (400, 413, 422, 503)}
    responses[200] = {"description": "The verdicts", **answer}
    for path in ("/detect", f"/v1/models/{model.name}:predict"):
        body = {"requestBody": {"required": True, **asked}}
        app.post(path, responses=responses, openapi_extra=body)(service.detect)
    return app


def main():
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m examples.serving.service", description=__doc__)
    parser.add_argument("model", help="the folder that guarded.export wrote")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--bounds", type=float, nargs=2, default=(0.0, 1.0), metavar=("LOW", "HIGH")
    )
    parser.add_argument("--max-bytes", "--most-bytes", type=int, default=Limits.max_bytes)
    parser.add_argument("--max-inputs", type=int, default=Limits.max_inputs)
    parser.add_argument("--max-waiting", type=int, default=Limits.max_waiting)
    options = parser.parse_args()
    limits = Limits(options.max_bytes, options.max_inputs, options.max_waiting)
    app = create_app(Exported(options.model, options.bounds), limits)
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        access_log=False,
        log_config=_log_config(),
        timeout_graceful_shutdown=_SECONDS_TO_STOP,
    )


def _log_config():
    """Log lines of JSON."""
    json = {
        "()": "pythonjsonlogger.json.JsonFormatter",
        "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        "reserved_attrs": [*RESERVED_ATTRS, "color_message"],  # uvicorn's, with a terminal's codes
    }
    handler = {"class": "logging.StreamHandler", "formatter": "json"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": json},
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }


if __name__ == "__main__":
    main()
