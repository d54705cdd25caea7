"""The rules that turn statistics into verdicts, one file each; to add one, add its line here."""

from a2d_keras.detection.rules.base import Column as Column
from a2d_keras.detection.rules.base import CostRule as CostRule
from a2d_keras.detection.rules.base import Rule as Rule
from a2d_keras.detection.rules.fisher import Fisher as Fisher
from a2d_keras.detection.rules.neighbors import KNN as KNN
from a2d_keras.detection.rules.zscore import ZScore as ZScore

RULES: dict[str, type[Rule]] = {
    rule.word: rule
    for rule in list(globals().values())
    if isinstance(rule, type) and issubclass(rule, Rule) and hasattr(rule, "word")
}


def get(rule: str | Rule) -> Rule:
    """Make a rule from its name, or from another rule.

    Args:
        rule: A name in `RULES`, or a `Rule` whose parameters the new one gets.

    Returns:
        A rule that has learned nothing.

    Raises:
        ValueError: If `rule` is neither.
    """
    if isinstance(rule, Rule):
        return rule.fresh()
    if not isinstance(rule, str) or rule not in RULES:
        names = " or ".join(f'"{name}"' for name in sorted(RULES))
        raise ValueError(f"`rule` must be {names}, or a Rule. Received: {rule!r}")
    return RULES[rule]()
