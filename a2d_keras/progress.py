"""Progress of long work, in one style: the stage, how much is done of how much, the time left."""

import contextlib
import contextvars
import os
import sys
from collections.abc import Callable, Iterator

import keras

_SHOWN = contextvars.ContextVar("_SHOWN", default=False)


class Bar:
    """A line that names a stage, and a bar of Keras below it; nothing where no person looks.

    Args:
        stage: What is done, such as `"measuring"`.
        total: How much there is to do. None if that is not known.
        unit: What is counted. Defaults to `"input"`.
        verbose: 1 shows it, 0 only within `showing(1)`. Defaults to 0.

    Examples:
        >>> bar = Bar("measuring", 100)
        >>> bar.update(100)
        >>> bar.close()
    """

    def __init__(
        self, stage: str, total: int | None, *, unit: str = "input", verbose: int = 0
    ) -> None:
        self._bar, self._done, self._ended = None, 0, total is not None and total == 0
        if (verbose or _SHOWN.get()) and visible():
            print(stage)
            self._bar = keras.utils.Progbar(total, unit_name=unit)

    @property
    def shown(self) -> bool:
        """Whether it is shown."""
        return self._bar is not None

    def update(self, done: int) -> None:
        """Show how much is done.

        Args:
            done: How much, since the beginning.
        """
        self._done = done
        if self._bar is not None and not self._ended:
            self._ended = self._bar.target is not None and done >= self._bar.target
            self._bar.update(done)

    def close(self) -> None:
        """End the line."""
        if self._bar is not None and not self._ended:
            self._bar.update(self._done, finalize=True)
            self._ended = True


def duration(seconds: float) -> str:
    """Write a duration for people.

    Args:
        seconds: The duration.

    Returns:
        Whole seconds, or minutes from two on.

    Examples:
        >>> duration(84.2), duration(700)
        ('84 s', '12 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def visible() -> bool:
    """Return whether a person looks at what is printed: at a terminal or in a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    watched = hasattr(shell, "kernel") or "PYCHARM_HOSTED" in os.environ
    return sys.stdout.isatty() or watched


@contextlib.contextmanager
def showing(verbose: int) -> Iterator[None]:
    """Show the stages of all that is called.

    Args:
        verbose: 1 shows them, 0 does not.

    Yields:
        None.

    Examples:
        >>> with showing(1), stage("measuring", 2) as update:  # here is no terminal
        ...     update(2)
    """
    token = _SHOWN.set(bool(verbose))
    try:
        yield
    finally:
        _SHOWN.reset(token)


@contextlib.contextmanager
def stage(name: str, total: int | None, *, unit: str = "input") -> Iterator[Callable[[int], None]]:
    """Show a stage, and none of the stages within it.

    Args:
        name: What is done, such as `"measuring"`.
        total: How much there is to do. None if that is not known.
        unit: What is counted. Defaults to `"input"`.

    Yields:
        Call it with how much is done.
    """
    bar = Bar(name, total, unit=unit)
    with showing(0):
        yield bar.update
    bar.close()
