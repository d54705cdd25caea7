"""The report page: one file that holds its tables, its plots and a few lines of script."""

import base64
import importlib.resources

import jinja2
import markupsafe

from baselines.comparison import cells, protocols
from baselines.comparison.overview import fastest


def render(results, comparison, images):
    """Render the page.

    Args:
        results: What `results.json` holds, a dict.
        comparison: The `baselines.comparison.Comparison`.
        images: The paths of the plots, a dict by the name of the file.

    Returns:
        The HTML.
    """
    template = importlib.resources.files("baselines.comparison").joinpath("report.html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    names, summed = comparison.options.names, comparison.tables["overview"]
    shown, measurements = _laid_out(comparison.tables), comparison.measurements
    return environment.from_string(template.read_text()).render(
        **results,
        best=summed.iloc[0],
        fastest=fastest(summed),
        price=_price,
        spelled=lambda name: cells.spelled(name, names),
        fooled_only=comparison.options.fooled_only,
        defences=measurements.test.defences,
        supervised=[name for name, each in measurements.baselines.items() if each.supervised],
        halves=comparison.options.halves,
        images=[*images],
        image=lambda name: _embedded(images[name]),
        table=lambda name: (
            _html(shown[name], names) if name in shown else "Left out; see the end of the page."
        ),
    )


def _laid_out(tables):
    shown = dict(tables)
    for protocol in protocols.PROTOCOLS:
        rows = tables[f"auroc_{protocol}"]
        shown[f"auroc_{protocol}"] = cells.priced(cells.auroc(rows), tables["overview"])
        shown[f"tpr_{protocol}"] = cells.true_positives(rows)
    for name in ("overview", "missed", "transfer"):
        if name in tables:
            shown[name] = getattr(cells, name)(tables[name])
    return shown


def _price(row):
    passes, milliseconds = map(cells.rounded, (row.benign_passes, row.milliseconds))
    return f"{passes} passes and {milliseconds} ms an input"


def _html(frame, names):
    if "detector" in frame:
        frame = frame.assign(detector=[cells.spelled(name, names) for name in frame["detector"]])
    frame = frame.rename(columns=lambda name: str(name).replace("_", " "))
    return markupsafe.Markup(frame.to_html(index=False, border=0, float_format=_number))


def _number(value):
    return f"{value:.4f}" if abs(value) <= 1 else f"{value:.1f}"


def _embedded(path):
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
