"""Models from files, for the command line."""

import pathlib
import textwrap

import keras

from a2d_keras.detection.guarded_model import GuardedModel


def load(path: str) -> keras.Model:
    """Load a model of any kind.

    Args:
        path: A `.keras` or `.h5` file.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: If the file does not exist, or Keras cannot load it.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f"The model does not exist; name a .keras or .h5 file. Received: {path}")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises errors of many kinds for files it did not save
        cause = str(error).rpartition("Exception encountered: ")[2]  # the rest may list all layers
        raise ValueError(
            f"Keras {keras.__version__} cannot load this model: the file must be complete, hold "
            "built-in layers only, and not come from a newer version of Keras. "
            f"Received: {path}: {textwrap.shorten(cause, 300)}"
        ) from error


def load_classifier(path: str) -> keras.Model:
    """Load a model that is not guarded yet.

    Args:
        path: A `.keras` or `.h5` file.

    Returns:
        The model.

    Raises:
        ValueError: If it cannot be loaded, or is guarded.
    """
    model = load(path)
    if isinstance(model, GuardedModel):
        raise ValueError(
            f"`adapt` takes a classifier that is not guarded. Received: {path}, a guarded model"
        )
    return model


def load_guarded(path: str) -> GuardedModel:
    """Load a guarded model.

    Args:
        path: A `.keras` file, from `a2d-keras adapt` or `GuardedModel.save`.

    Returns:
        The `GuardedModel`.

    Raises:
        ValueError: If it cannot be loaded, or is not guarded.
    """
    model = load(path)
    if not isinstance(model, GuardedModel):
        raise ValueError(
            "A verdict needs a guarded model; make one from this classifier with "
            f"`a2d-keras adapt`. Received: {path}, {type(model).__name__} {model.name!r}"
        )
    return model
