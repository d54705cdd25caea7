"""Run a model in a lower precision, on its own weights.

While a pass is traced, the model's layers compute in the low precision. Two layers stay in
float32: the first with weights, since the steps of an attack are finer than the low precision
resolves, and the last, which computes the logits. A layer without weights keeps the precision of
its inputs.
"""

import contextlib
import pathlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

PRECISIONS = ("float32", "bfloat16", "float16")
AUTO = "auto"  # the faster of float32 and bfloat16, which `adapt` finds out
_NATIVE = {"amx_bf16", "avx512_bf16", "bf16"}  # Linux's names for it, on x86 and on ARM
_LISTED = pathlib.Path("/proc/cpuinfo")
_LOCK = threading.RLock()  # one thread at a time changes policies


class _Policy(keras.FloatDTypePolicy):
    """A layer's policy while one thread traces it; for all other threads it is float32."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._thread = threading.get_ident()

    @property
    def here(self) -> bool:
        return threading.get_ident() == self._thread


class _Lowered(_Policy):
    """Compute in the low precision."""

    @property
    def compute_dtype(self) -> str:
        return str(super().compute_dtype if self.here else self.variable_dtype)


class _Following(_Policy):
    """Compute in the precision of the inputs."""

    def convert_input(self, x: Any, autocast: bool, dtype: Any) -> Any:
        return super().convert_input(x, autocast and not self.here, dtype)


def require_precision(precision: Any) -> None:
    """Refuse a precision that is unknown, or that this machine would only emulate.

    Args:
        precision: `"float32"`, `"bfloat16"` or `"float16"`; or `"auto"`, which no machine refuses.

    Raises:
        ValueError: If it is unknown; without a GPU, if it is `"float16"`, or if it is
            `"bfloat16"` and the processor has no instructions for it.
    """
    if precision == AUTO:
        return
    if precision not in PRECISIONS:
        raise ValueError(
            '`precision` must be "float32", "bfloat16", "float16" or "auto". '
            f"Received: {precision!r}"
        )
    if precision == "float32" or tf.config.list_physical_devices("GPU"):
        return
    if precision == "float16":
        raise ValueError(
            'float16 needs a GPU, and TensorFlow finds none: use `precision="float32"`, or '
            '"bfloat16" if the processor supports it. Received: "float16"'
        )
    native = native_bfloat16()
    if not native:
        raise ValueError(
            "This processor lacks bfloat16 and emulates it, which is slower than float32: use "
            '`precision="float32"`. Received: "bfloat16"'
        )
    if native == {"avx512_bf16"}:
        warnings.warn(
            "The bfloat16 of this processor, AVX-512 without AMX, may be slower than its float32: "
            "on an Intel Xeon, convolutions took over 1.5 times as long. Compare both before you "
            'adapt. Received: "bfloat16"',
            stacklevel=3,
        )


def native_bfloat16() -> set[str]:
    """Find the processor's instructions for bfloat16.

    Returns:
        Their names on Linux. Empty if there are none, or on another system.
    """
    return _NATIVE & set(_LISTED.read_text().split()) if _LISTED.exists() else set()


@contextlib.contextmanager
def lowered(model: keras.Model, precision: str) -> Iterator[None]:
    """Trace a model in a lower precision, in this thread, while the context is open.

    Layers whose own policy is not float32 are not changed.

    Args:
        model: The built model.
        precision: `"float32"`, which changes nothing, `"bfloat16"` or `"float16"`.

    Yields:
        None. Afterwards every layer has its own policy again.
    """
    if precision == "float32":
        yield
        return
    with _LOCK:
        own = {layer: layer.dtype_policy for layer in _layers(model) if _is_float32(layer)}
        weighted = [layer for layer in own if _has_own_weights(layer)]
        try:
            for layer in own:
                layer.dtype_policy = _Following("float32")
            for layer in weighted:
                layer.dtype_policy = _Lowered(f"mixed_{precision}")
            for layer in weighted[:1] + weighted[-1:]:
                layer.dtype_policy = own[layer]  # casts its inputs, as a convolution needs
            yield
        finally:
            for layer, policy in own.items():
                layer.dtype_policy = policy


def _layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yield a layer and all layers inside it, in the order in which models list them."""
    yield layer
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _layers(inner)


def _is_float32(layer: keras.layers.Layer) -> bool:
    return bool(layer.compute_dtype == layer.variable_dtype == "float32")


def _has_own_weights(layer: keras.layers.Layer) -> bool:
    inner = layer._flatten_layers(include_self=False)
    theirs = {id(weight) for other in inner for weight in other.weights}
    return any(id(weight) not in theirs for weight in layer.weights)
