"""The report: `results.json`, `scores.csv`, `tables.md` and `figure_2.png`."""

import numpy as np

from baselines import plots
from baselines.clever.tables import MAX_SCORE
from baselines.comparison.markdown import section
from baselines.comparison.output import write_records


def write(out, about, scores, tables):
    """Write everything.

    Args:
        out: The folder, a `pathlib.Path`, which exists.
        about: How the results were made, a dict that JSON can hold.
        scores: The scores of `baselines.clever.suite.score`.
        tables: The tables of `baselines.clever.tables.compute`.
    """
    write_records(out, about, tables)
    scores.to_csv(out / "scores.csv", index=False, lineterminator="\n", float_format="%.5f")
    (out / "tables.md").write_text(text(about, tables) + "\n")
    points = {
        form: {kind: (x["score"], x["steps"]) for kind, x in frame.groupby("kind", sort=False)}
        for form, frame in tables["figure_2"].groupby("form", sort=False)
    }
    units = ("untargeted CLEVER score", "steps of JSMA_d")
    plots.scatter(out / "figure_2.png", f"{about['title']}:", units, points)


def text(about, tables):
    """Lay out all tables.

    Args:
        about: As for `write`.
        tables: As for `write`.

    Returns:
        The Markdown.
    """
    unfitted = ", ".join(
        f"{form} {share:.0%}" for form, share in tables["unfitted"].itertuples(index=False)
    )
    sizes = (
        f"{about['inputs']} inputs of each kind. {about['maxima']} maxima over {about['samples']} "
        "points each, for every target; the authors of CLEVER take 500 over 1,024. Mean ± "
        "half-width of the 90 % interval. λ is the mean of benign inputs divided by this one. "
        f"Targets whose estimate is the largest maximum, without a fit that counts: {unfitted}."
    )
    fooled = ", ".join(f"{kind} {share:.0%}" for kind, share in about["fooled"].items())
    every = f"Every example counts, whether or not it fools. Those that do: {fooled}."
    sections = [
        section("Table 1", _table_1(tables["table_1"]), f"{sizes} {every}"),
        section("The order of Table 1", _order(tables["order"])),
        section(
            f"Figure 2: scores from 0 to {MAX_SCORE} and the steps of JSMA_d",
            _formatted(tables["correlation"], correlation="{:.2f}").rename(
                columns={"correlation": "rank correlation"}
            ),
        ),
    ]
    if "table_4" in tables:
        what = "Means over the examples that fool. The steps are those of BIM_d."
        sections.append(
            section("Table 4: C&W with confidence κ", _table_4(tables["table_4"]), what)
        )
    return "\n\n".join(sections)


def _table_1(rows):
    """Lay out a row for each label and kind, with two columns for each form."""
    shown = rows.assign(
        mean=[_interval(row) for row in rows.itertuples()],
        ratio=rows["ratio"].map(_ratio).where(rows["kind"] != "benign", ""),
    )
    table = shown[["label", "kind"]].drop_duplicates()
    for form, frame in shown.groupby("form", sort=False):
        columns = {"mean": form, "ratio": f"λ, {form}"}
        table = table.merge(
            frame.drop(columns=["form", "half_width"]).rename(columns=columns), how="left"
        )
    return table


def _order(rows):
    names = {
        "near": "smallest λ but FGSM's",
        "far": "smallest λ of FGSM",
        "next": "average λ, untargeted and target-2 (the smaller)",
        "others": "average λ, target-5 and least likely (the larger)",
    }
    table = rows.set_index("form").map(_ratio).rename(columns=names).T
    return table.rename_axis(None, axis=1).rename_axis("benign scores are larger by").reset_index()


def _table_4(rows):
    forms = {"confidence": "{:g}", "score": "{:.3f}", "steps": "{:.1f}", "distance": "{:.2f}"}
    table = _formatted(rows, **forms, fooled="{:.0%}")
    return table.rename(columns={"confidence": "κ", "distance": "L2 distance"})


def _formatted(rows, **forms):
    shown = rows.astype(object)
    for column, form in forms.items():
        shown[column] = ["–" if np.isnan(value) else form.format(value) for value in rows[column]]
    return shown.astype(str)


def _interval(row):
    width = "" if np.isnan(row.half_width) else f" ± {row.half_width:.4f}"
    return f"{row.mean:.4f}{width}"


def _ratio(value):
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
