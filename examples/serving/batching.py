"""One batch for the requests of many clients."""

import asyncio
from typing import Any, NamedTuple

import numpy as np


class _Asked(NamedTuple):
    inputs: np.ndarray
    answer: asyncio.Future[Any]


class Batcher:
    """Run all requests that wait as one batch, while the next ones gather.

    Nobody waits for a batch to fill, so a lone request is as fast as it would be without. Under
    load the batches grow.

    Args:
        run: Takes a batch of inputs, and returns a dict of arrays, a row for each.
        enough: No request joins a batch that has this many inputs.
        on_batch: Called with the number of inputs of each batch.
    """

    def __init__(self, run, enough, on_batch):
        self._run, self._enough, self._on_batch = run, enough, on_batch
        self._waiting, self._closed = asyncio.Queue(), None

    async def __call__(self, inputs):
        """Wait for the outputs for some inputs; raise what `run` raises for these inputs."""
        if self._closed:
            raise self._closed
        asked = _Asked(inputs, asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(asked)
        return await asked.answer

    async def work(self):
        """Answer requests until cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and _size(batch) < self._enough:
                batch.append(self._waiting.get_nowait())
            await self._answer(batch)

    def close(self, error):
        """Answer all who wait, and all who come, with an error, since nobody will work."""
        self._closed = error
        while not self._waiting.empty():
            _settle(self._waiting.get_nowait().answer.set_exception, error)

    async def _answer(self, batch):
        try:
            inputs = np.concatenate([asked.inputs for asked in batch])
            outputs = await asyncio.to_thread(self._run, inputs)
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0].answer.set_exception, error)
                return
            for asked in batch:  # only those at fault are to hear of it
                await self._answer([asked])
            return
        self._on_batch(len(inputs))
        start = 0
        for asked in batch:
            rows = slice(start, start + len(asked.inputs))
            _settle(asked.answer.set_result, {name: all[rows] for name, all in outputs.items()})
            start = rows.stop


def _size(batch):
    return sum(len(asked.inputs) for asked in batch)


def _settle(settle, value):
    if not settle.__self__.done():  # a client may have gone
        settle(value)
