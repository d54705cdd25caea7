"""The report of the red team: `results.json`, and one page with the table and all pictures."""

import base64
import dataclasses
import importlib.resources
import importlib.util
import json
import os
import pathlib
from typing import Any

import numpy as np

from a2d_keras.files import replace_atomically
from a2d_keras.redteam.result import RedTeamResult

_NEEDED = ("jinja2", "matplotlib")
_SHARES = ("fooled", "success", "SR@5", "SR@50")
_COUNTS = ("queries", "gradients")


def require_extras() -> None:
    """Refuse to report without the packages that draw it.

    Raises:
        ValueError: If one is missing.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            "The page of a red team needs jinja2 and matplotlib: "
            f"`pip install a2d-keras[redteam]`. Received: no {' and no '.join(missing)}"
        )


def save(result: RedTeamResult, folder: str | os.PathLike[str]) -> None:
    """Write `results.json` and `report.html`, which needs no other file.

    Args:
        result: The result.
        folder: The folder, created if missing.

    Raises:
        ValueError: If a package is missing, or the folder cannot be written to.
    """
    require_extras()
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "results.json": json.dumps(to_json(result), indent=1) + "\n",
        "report.html": _page(result),
    }
    for name, text in contents.items():
        with replace_atomically(folder / name) as part:
            part.write_text(text, encoding="utf-8")


def to_json(result: RedTeamResult) -> dict[str, Any]:
    """Return a result as plain values.

    Args:
        result: The result.

    Returns:
        `about`, the `rows` of the table, the `checks`, and for each of the `attacks`: what it is,
        its ROC curve, and for each input whether it got through, and its distances.
    """
    return {
        "about": result.about,
        "rows": result.rows(),
        "checks": [each._asdict() for each in result.checks],
        "attacks": {name: _attack(result, name) for name in result.crafted},
    }


def _attack(result: RedTeamResult, name: str) -> dict[str, Any]:
    l2, linf = result.distances(name)
    false, true = result.roc(name)
    verdicts = result.crafted[name].verdicts
    columns = {
        "class": result.y,
        "predicted": verdicts.labels,
        "flagged": verdicts.flagged,
        "score": verdicts.score,
        "got_through": result.succeeds(name),
        "L2": l2,
        "Linf": linf,
    }
    return {
        "attack": repr(result.adversaries[name]),
        "roc": {"benign_flagged": _plain(false), "adversarial_flagged": _plain(true)},
        "inputs": {key: _plain(values) for key, values in columns.items()},
    }


def _plain(values: np.ndarray) -> list[Any]:
    """Turn an array into numbers of JSON, which lacks those that are not finite."""
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]


def _page(result: RedTeamResult) -> str:
    import jinja2

    from a2d_keras.redteam import plots

    template = importlib.resources.files("a2d_keras.redteam").joinpath("report.html")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    rows = result.rows()
    through = round(rows[-1]["success"] * len(result.y))
    page: str = environment.from_string(template.read_text(encoding="utf-8")).render(
        through=through,
        count=len(result.y),
        eps=result.eps,
        columns=[name for name in rows[0] if name != "attack"],
        rows=[{name: shown(name, value) for name, value in row.items()} for row in rows],
        checks=result.checks,
        about={name: _words(value) for name, value in result.about.items()},
        attacks={name: _documented(each) for name, each in result.adversaries.items()},
        roc=_embedded(plots.roc(result)),
        pictures=_embedded(plots.pictures(result)),
    )
    return page


def shown(column: str, value: Any) -> str:
    """Write a value of the table for people.

    Args:
        column: The column.
        value: Its value, or None.

    Returns:
        Such as `53 %` for a share.

    Examples:
        >>> shown("SR@5", 0.525), shown("Linf", 0.03137), shown("limit", None)
        ('52 %', '0.031', '–')
    """
    if value is None:
        return "–"
    if column in _SHARES:
        return f"{value:.0%}".replace("%", " %")
    if column in _COUNTS:
        return f"{value:,.0f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _documented(adversary: Any) -> tuple[str, str]:
    """Return the first paragraph about an adversary, and its parameters."""
    about = (type(adversary).__doc__ or "").partition("\n\n")[0]
    fields = [f for f in dataclasses.fields(adversary) if f.init and f.repr]
    values = ((f.name, getattr(adversary, f.name)) for f in fields)
    parameters = (f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in values)
    return " ".join(about.split()), ", ".join(parameters)


def _embedded(png: bytes | None) -> str | None:
    return None if png is None else f"data:image/png;base64,{base64.b64encode(png).decode()}"
