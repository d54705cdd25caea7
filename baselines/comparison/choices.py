"""The options of a comparison."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from a2d_keras import Attack
from a2d_keras.validation import require_whole

MIN_INPUTS = 40  # the baselines learn from half of them, by cross-validation


class Halves(NamedTuple):
    """The kinds of input in a table of distances, each in two halves (the paper's Figure 3).

    Attributes:
        defence: The defence whose mean costs are compared.
        kinds: The kinds of input: "benign", attacks of the comparison, and those of `extra`.
        extra: Attacks that craft for this table only, by name.
    """

    defence: str
    kinds: Sequence[str]
    extra: Mapping[str, Attack]


class Published(NamedTuple):
    """Figures that a paper reports, to print next to ours.

    Attributes:
        table_2: AUROC, a dict from the attack to a dict from the detector.
        table_3: A dict from the defence to its threshold, mean adversarial steps, adversarial
            accuracy and mean benign steps.
        table_7: A dict from the parameter and its value to benign and adversarial accuracy.
        figure_6: The mean accuracy of K-NN detectors, a dict from the defence.
    """

    table_2: dict
    table_3: dict
    table_7: dict
    figure_6: dict


NOTHING_PUBLISHED = Published({}, {}, {}, {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a comparison.

    Args:
        limit: The maximum number of test inputs, of benign training inputs, and of adversarial
            training inputs of all attacks together, at least 40. Defaults to 1000.
        benign_accuracy: The share of benign inputs that the thresholds of Table 3 must keep.
            Defaults to 0.9.
        halves: The `Halves`. By default there is no such table.
        published: The `Published` figures. Defaults to none.
        names: What the report adds to the names of detectors, a dict by name, such as
            `{"BL2": "LID"}`. Defaults to nothing.
        about: What the report says about the run, a dict that JSON can hold. "suite" and "title"
            form its heading, and "command" is the command to run it again. Defaults to nothing.
        fooled_only: Whether the paper's protocol counts only examples that fool, as in Env2.
            Defaults to False.
        verbose: 1 shows progress bars. Defaults to 0.

    Raises:
        ValueError: If there are too few inputs.
    """

    limit: int = 1000
    benign_accuracy: float = 0.9
    halves: Halves | None = None
    published: Published = NOTHING_PUBLISHED
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fooled_only: bool = False
    verbose: int = 0

    def __post_init__(self):
        require_whole("limit", self.limit, minimum=MIN_INPUTS)
