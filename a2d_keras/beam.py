"""`GuardedModelHandler`: verdicts in Apache Beam pipelines, on one machine or many.

It needs the extra `beam`: `pip install "a2d-keras[beam]"`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.detection.guarded_model import GuardedModel

try:
    from apache_beam.ml.inference.base import ModelHandler, PredictionResult
except ImportError as error:
    raise ImportError(
        'a2d_keras.beam runs on Apache Beam: install it with `pip install "a2d-keras[beam]"`. '
        f"Received: {error}"
    ) from error


class _Judge:
    """A guarded model with one method, the only kind of object that Beam shares among processes."""

    def __init__(self, path: str) -> None:
        model = keras.models.load_model(path)
        if not isinstance(model, GuardedModel):
            raise ValueError(
                "The file must hold a guarded model, made by `a2d_keras.guard`. "
                f"Received: {type(model).__name__} in {path}"
            )
        model.detector.check(np.empty((0, *model.detector.classifier.input_shape)))  # is adapted
        self._model = model

    def judge(self, batch: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Return the model's outputs for each input, or the reason why it refuses the input."""
        try:
            return self._rows(batch)
        except (ValueError, tf.errors.InvalidArgumentError):
            reasons = [self._reason(x) for x in batch]
        valid = [x for x, reason in zip(batch, reasons, strict=True) if reason is None]
        rows = iter(self._rows(valid) if valid else [])
        return [next(rows) if reason is None else {"error": reason} for reason in reasons]

    def _rows(self, batch: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        outputs = self._model.predict(np.stack(batch), verbose=0)
        return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]

    def _reason(self, x: np.ndarray) -> str | None:
        """Return why an input is refused, or None; this measures no statistic."""
        try:
            self._model.detector.require_judgeable(np.stack([x]))
        except ValueError as error:
            return str(error)
        return None


class GuardedModelHandler(ModelHandler[np.ndarray, PredictionResult, _Judge]):
    """Let Beam's `RunInference` judge inputs with a guarded model.

    An example is one input, an array of the classifier's input shape. The `inference` of its
    `PredictionResult` is a dict. It holds the outputs of `DetectorLayer` for that input as NumPy
    values, or `{"error": reason}` if the model refuses the input. The rest of the batch is judged
    all the same. Any other failure is raised, so that the runner tries again.

    Args:
        path: The `.keras` file of an adapted guarded model, where every worker can read it.
        batch_size: Inputs in a batch, if Beam makes the batches. Defaults to 1024.
        **kwargs: Arguments of Beam's `ModelHandler`, such as `large_model=True`, which keeps one
            copy of the model for all processes of a machine.

    Raises:
        ValueError: On the workers, if the file does not hold an adapted guarded model.

    Examples:
        >>> import tempfile
        >>> from apache_beam.ml.inference.base import RunInference
        >>> from a2d_keras import guard
        >>> guarded = guard(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
        >>> guarded.adapt(np.random.default_rng(0).uniform(size=(100, 4)), verbose=0)
        >>> path = f"{tempfile.mkdtemp()}/guarded.keras"
        >>> guarded.save(path)
        >>> inputs = [np.full(4, 0.5), np.full(4, 255.0)]
        >>> good, bad = inputs | RunInference(GuardedModelHandler(path))
        >>> sorted(good.inference)
        ['cost', 'is_adversarial', 'p_value', 'predictions', 'score', 'statistics']
        >>> bad.inference["error"]
        'Inputs must be finite numbers within the bounds (0.0, 1.0), and these look like pixels ...
    """

    def __init__(self, path: str, batch_size: int = 1024, **kwargs: Any) -> None:
        # One size: Beam's own choice depends on the speed of the machine.
        super().__init__(min_batch_size=batch_size, max_batch_size=batch_size, **kwargs)
        self._path = path

    def load_model(self) -> _Judge:
        """Load the guarded model."""
        return _Judge(self._path)

    def run_inference(
        self, batch: Sequence[np.ndarray], model: _Judge, inference_args: Any = None
    ) -> Iterable[PredictionResult]:
        """Judge a batch.

        Args:
            batch: Inputs, arrays of the classifier's input shape.
            model: What `load_model` returned.
            inference_args: Ignored; must be empty.

        Returns:
            A `PredictionResult` for each input, in their order.
        """
        inferences = model.judge(batch)
        return [
            PredictionResult(example, inference, self._path)
            for example, inference in zip(batch, inferences, strict=True)
        ]

    def get_num_bytes(self, batch: Sequence[np.ndarray]) -> int:
        """Return the number of bytes of a batch, for Beam's metrics."""
        return sum(np.asarray(example).nbytes for example in batch)

    def get_metrics_namespace(self) -> str:
        """Return the namespace of Beam's metrics."""
        return "a2d_keras"

    def validate_inference_args(self, inference_args: Any) -> None:
        """Refuse arguments, since a guarded model takes none."""
        if inference_args:
            raise ValueError(
                f"A guarded model takes no `inference_args`. Received: {inference_args}"
            )

    def update_model_path(self, model_path: str | None = None) -> None:
        """Use another file, if `RunInference` watches for newer models."""
        self._path = model_path or self._path
