"""Groups of options: how attacks run, and how a guard treats inputs that it cannot judge."""

import dataclasses

from a2d_keras.validation import require_choice, require_slots

_AUTO = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How an attack runs on this machine. None of it changes what the attack finds.

    Args:
        slots: Inputs under attack at once, or `"auto"` for the fastest number. A calibration of
            some seconds finds that number once for each classifier, kind of attack and device.
            Defaults to 128.
        jit_compile: Whether to compile with XLA. Defaults to False.
        images: Whether to return the adversarial images. Counting is faster without them.
            Defaults to True.

    Raises:
        ValueError: If `slots` is neither a number of slots nor `"auto"`.

    Examples:
        >>> RunOptions(slots=512)
        RunOptions(slots=512, jit_compile=False, images=True)
    """

    slots: int | str = 128
    jit_compile: bool = False
    images: bool = True

    def __post_init__(self) -> None:
        require_slots(self.slots)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardOptions:
    """How a guarded model runs, and how it treats what it cannot judge.

    Args:
        slots: Inputs under attack at once; see `RunOptions`. Defaults to 128.
        on_invalid: What to do with inputs that are not finite or out of bounds, and with inputs
            for which the classifier itself returns no finite prediction: `"raise"`, or `"flag"`,
            which flags them with score NaN and cost 0. Defaults to `"raise"`.
        on_changed_weights: What to do if the classifier has changed since `adapt`: `"raise"` or
            `"warn"`. Defaults to `"raise"`.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> GuardOptions(on_invalid="flag")
        GuardOptions(slots=128, on_invalid='flag', on_changed_weights='raise')
    """

    slots: int | str = 128
    on_invalid: str = "raise"
    on_changed_weights: str = "raise"

    def __post_init__(self) -> None:
        require_slots(self.slots)
        require_choice("on_invalid", self.on_invalid, ("raise", "flag"))
        require_choice("on_changed_weights", self.on_changed_weights, ("raise", "warn"))


def inputs_per_pass(slots: int | str) -> int:
    """Return how many inputs a pass takes that is not a step of an attack.

    Args:
        slots: Inputs under attack at once; see `RunOptions`.

    Returns:
        The same number, or 128 for `"auto"`, which times steps.
    """
    return _AUTO if slots == "auto" else int(slots)
