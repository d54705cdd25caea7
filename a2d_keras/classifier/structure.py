"""Detect changes of a model: its structure, and the weights that it would save."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Attributes that training and predicting set.
_TRAINING = frozenset(
    {"built", "compiled", "history", "loss", "optimizer", "predict_function", "run_eagerly"}
    | {"steps_per_execution", "stop_evaluating", "stop_predicting", "stop_training"}
    | {"test_function", "train_function", "unrolled_steps_per_execution"}
)
_PLAIN = (bool, int, float, str, type(None))


class Structure:
    """What a traced graph depends on, except the values of variables.

    That is each layer's identity, precision, variables, settings and constants. All of these
    objects are kept alive, so that no new object gets the `id` of an old one.

    Args:
        model: The model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._kept: list[Any] = []
        layers = model._flatten_layers()
        self._key = tuple(map(self._describe, layers))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._key == other._key

    __hash__ = None  # type: ignore[assignment]

    def _describe(self, layer: Any) -> tuple[Any, ...]:
        variables = [(self._id(v), tuple(v.shape), str(v.dtype)) for v in _own_variables(layer)]
        outputs = getattr(layer, "outputs", None) if isinstance(layer, keras.Model) else None
        graph = [self._id(output) for output in outputs or ()]
        return self._id(layer), layer.dtype_policy.name, variables, graph, self._state(layer)

    def _state(self, layer: Any) -> list[tuple[str, Any]]:
        """List the constants and settings that a trace depends on; the config lacks some."""
        is_model = isinstance(layer, keras.Model)
        state: list[tuple[str, Any]] = []
        for name, value in vars(layer).items():
            if is_model and (name.startswith("_") or name in _TRAINING):
                continue
            if tf.is_tensor(value) or isinstance(value, np.ndarray) or callable(value):
                state.append((name, self._id(value)))
            elif isinstance(value, _PLAIN) and not name.startswith("_") and value:
                state.append((name, value))  # loading sets missing flags to False
        return state

    def _id(self, value: Any) -> int:
        self._kept.append(value)
        return id(value)


def _own_variables(layer: Any) -> Iterable[Any]:
    return (*layer._trainable_variables, *layer._non_trainable_variables)


def hash_weights(model: keras.Model, salt: str = "") -> int:
    """Hash the weights that a model would save, on the host.

    Keras merges LoRA's weights when it saves, so the hash is of the merged weights. For a layer
    that saves its variables as they are, the hash is of its variables, in their order.

    Args:
        model: The model.
        salt: Text to hash as well.

    Returns:
        The first 64 bits of the SHA-256, as a signed integer.
    """
    digest = hashlib.sha256(salt.encode())
    for value in _saved_values(model):
        values = np.ascontiguousarray(_to_numpy(value))
        digest.update(values.reshape(-1).view("uint8").data)  # hashlib does not take bfloat16
    return int.from_bytes(digest.digest()[:8], "little", signed=True)


def _saved_values(model: keras.Model) -> Iterator[Any]:
    owners = {id(v): layer for layer in model._flatten_layers() for v in _own_variables(layer)}
    seen: dict[int, Any] = {}  # keeps the objects alive, so that no id is used again
    for weight in model.weights:
        layer = owners.get(id(weight))
        if layer is not None and id(layer) in seen:
            continue
        seen[id(layer)] = layer
        for value in [weight] if layer is None else _layer_values(layer):
            if id(value) not in seen:
                seen[id(value)] = value
                yield value


def _layer_values(layer: Any) -> list[Any]:
    own = list(_own_variables(layer))
    store: dict[str, Any] = {}
    _without_idle_lora(layer).save_own_variables(store)
    saved = list(store.values())
    merged = not {id(value) for value in saved} <= {id(variable) for variable in own}
    # Loading a layer that was quantized to float8 changes the order of its variables.
    reordered = getattr(layer, "quantization_mode", None) == "float8"
    lora = getattr(layer, "lora_enabled", False)
    return saved if merged or reordered or lora else own


def _without_idle_lora(layer: Any) -> Any:
    """Ignore LoRA weights that add nothing, as after loading, since merging them would round."""
    names = [name for name in vars(layer) if name.startswith("lora_") and name.endswith("_b")]
    if not getattr(layer, "lora_enabled", False) or any(
        np.any(_to_numpy(getattr(layer, name))) for name in names
    ):
        return layer
    view = object.__new__(type(layer))
    vars(view).update(vars(layer), lora_enabled=False)
    return view


def _to_numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))
