"""Options that travel together: how attacks run, and what a guard does in doubt."""

import dataclasses

from a2d_keras.validation import require_choice, require_slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How an attack runs on this machine. None of it changes what the attack finds.

    Args:
        slots: Inputs under attack at once, or `"auto"`: the fastest number, which a calibration
            of some seconds finds once for each classifier, kind of attack and device. Defaults
            to 128.
        jit_compile: Whether to compile with XLA. Defaults to False.
        images: Whether the adversarial images are wanted; without them counts come faster.
            Defaults to True.

    Raises:
        ValueError: If `slots` is no such number.

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
    """How a guard runs, and what it does with what it cannot judge.

    Args:
        slots: Inputs under attack at once; see `RunOptions`. Defaults to 128.
        on_invalid: What to do with inputs that are not finite or out of bounds, and with inputs
            for which the classifier itself gives no finite prediction: `"raise"`, or `"flag"`,
            which flags them with score NaN and cost 0. Defaults to `"raise"`.
        on_changed_weights: What to do when the classifier is not the one that `adapt` saw:
            `"raise"` or `"warn"`. Defaults to `"raise"`.

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
