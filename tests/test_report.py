import dataclasses
import html.parser
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from baselines.comparison import Comparison, Options, accuracy, markdown, output, page, protocols
from baselines.comparison.choices import NOTHING_PUBLISHED
from baselines.comparison.overview import overview
from baselines.env1.paper import FIGURES
from baselines.env1.settings import FIGURE_3, NAMES

pytestmark = pytest.mark.checkout

NUMBER = r"\d+(?:\.\d+)?"
DOCS = pathlib.Path(__file__).parent.parent / "docs"
CHROMIUM = shutil.which("chromium")
ABOUT = {
    "suite": "Env1",
    "data set": "digits",
    "title": "<digits>",
    "command": "python -m baselines.env1",
    "date": "2026-01-01",
    "test inputs": 60,
    "versions": {"Keras": "3"},
    "seconds of all checkpoints": 90,
}
OPTIONS = Options(halves=FIGURE_3, names=NAMES)
# A script that writes measures of the loaded page into its title.
LOOK = """<script>onload = () => { document.title = JSON.stringify({
  images: [...document.images].map(i => i.complete && i.naturalWidth > 100),
  width: document.documentElement.scrollWidth, window: innerWidth,
  cut: [...document.querySelectorAll(".wide")].filter(e => e.scrollWidth > e.clientWidth).length,
  sorted: [1, 2].map(() => {
    const table = document.querySelector("table");
    table.tHead.rows[0].cells[1].click();
    return [...table.tBodies[0].rows].map(row => parseFloat(row.cells[1].textContent)) }),
  font: parseFloat(getComputedStyle(document.querySelector("td")).fontSize)}) }</script>"""


@pytest.fixture(scope="module")
def tables(evaluated):
    return evaluated[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, evaluated, measurements):
    out = tmp_path_factory.mktemp("report")
    scores, tables = evaluated
    output.write(out, Comparison(tables, scores, ABOUT, measurements, OPTIONS))
    return out


def test_page_holds_every_table_and_plot(folder):
    page = (folder / "report.html").read_text()
    plots = {path.name for path in folder.glob("*.png")}
    assert page.count("data:image/png;base64,") == len(plots) == 7
    assert page.count("<table") == 10
    for name in ("BL1 (KD+BU)", "BL2 (LID) + noisy", "END (K-NN of all defences)"):
        assert name in page
    assert "Env1 on &lt;digits&gt;" in page
    links = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attributes: links.extend(
        value for name, value in attributes if name in ("src", "href")
    )
    parser.feed(page)
    assert all(link.startswith("data:") for link in links)


def test_every_table_is_in_the_results(folder, tables, measurements):
    results = json.loads((folder / "results.json").read_text())
    for name, table in tables.items():
        assert len(results[name]) == len(table)
    assert results["fooled"]["JSMA"] == pytest.approx(measurements.test.fooled["JSMA"].mean())


def test_true_positives_keep_the_rate():
    negative, positive = list(range(100)), [94, 95, 98, 99, 100]
    assert protocols.detected(negative, positive, rate=0.01) == 2 / 5
    assert protocols.detected(negative, positive, rate=0.05) == 4 / 5
    assert protocols.detected([1.0] * 100, [1.0], rate=0.05) == 0


def test_markdown_holds_every_table_next_to_the_papers(tables, folder):
    plain = (folder / "tables.md").read_text()
    assert plain.count("\n|:--") == 9
    assert " / " not in plain
    fooled = dict.fromkeys(["FGSM", "BIM-a", "JSMA", "C&W"], 0.5)
    text = markdown.text(fooled, tables, FIGURES["mnist"])
    rows = tables["auroc_paper"].set_index(["attack", "detector"])["auroc"]
    assert f"{rows['C&W', 'BL2']:.4f} / 0.9502 |" in text
    assert "| 50.0 %" in text
    table_3 = tables["table_3"].set_index("defence")
    assert f"| {table_3.loc['DBA_d', 'benign_steps']:.0f} / 319 " in text
    table_7 = tables["table_7"].set_index(["parameter", "value"])
    assert f"{table_7.loc[('z', -1.281552), 'benign_accuracy']:.4f} / 0.9260" in text


def test_the_overview_has_the_price_beside_auroc(measurements, tables):
    seconds = {"benign BL2": 60.0, "FGSM BL2": 6.0, "noisy C&W BL2": 0.6, "test BL2": 9.0}
    seconds |= {"test benign BIM_d 0": 1.0, "test benign BIM_d 20": 2.0}
    held_out = tables["auroc_held_out"]
    rows = overview(held_out, measurements, seconds)
    assert rows["auroc"].is_monotonic_decreasing
    assert [*rows["detector"]].count("BL1") == 1  # not again with noise
    rows = rows.set_index("detector")
    areas = held_out[held_out["detector"] == "BIM_d"].set_index("attack")["auroc"]
    row = rows.loc["BIM_d"]
    assert row["auroc"] == pytest.approx(areas.mean())
    assert (row["worst"], row["worst_attack"]) == (areas.min(), areas.idxmin())
    assert rows["milliseconds"].dropna().to_dict() == {"BL2": 100.0, "BIM_d": 50.0}
    queries = measurements.test.queries
    assert row["benign_passes"] == queries["benign"]["BIM_d"].mean()
    attacked = [queries[attack]["BIM_d"][f] for attack, f in measurements.test.fooled.items()]
    assert row["adversarial_passes"] == np.concatenate(attacked).mean()
    defences = rows.loc[measurements.test.defences, "benign_passes"]
    assert rows.loc["END", "benign_passes"] == pytest.approx(defences.sum())
    assert rows.loc["BL1", "benign_passes"] == rows.loc["BL1", "adversarial_passes"] == 50
    assert rows["learns_attacks"].to_dict()["END"]
    assert not rows["learns_attacks"].to_dict()["BIM_d"]


def test_a_miss_fools_and_looks_most_benign(measurements, tables):
    rows = tables["missed"].set_index(["detector", "attack"])
    rates = tables["auroc_held_out"].set_index(["detector", "attack"])
    row = rows.loc["JSMA_d", "FGSM"]
    expected = row["of"] * (1 - rates.loc[("JSMA_d", "FGSM"), "tpr_5"])
    assert row["missed"] == pytest.approx(expected)
    assert row["missed"] > 0
    assert row["of"] == measurements.test.fooled["FGSM"][30:].sum()
    steps = measurements.test.steps["FGSM"]["JSMA_d"][measurements.test.fooled["FGSM"]]
    assert row["input"] == steps[steps.index >= 30].idxmax()
    assert (rows["input"] < 0).eq(rows["missed"] == 0).all()


def test_only_what_counts_enters_accuracy_and_price(measurements):
    only = measurements._replace(fooled_only=True)
    assert measurements.counted() is measurements
    counted, fooled = only.counted(), only.test.fooled
    assert counted.training.fooled["C&W"].all()
    steps = [only.test.steps[attack]["BIM_d"][rows] for attack, rows in fooled.items()]
    row = accuracy.table_3(counted, benign_accuracy=0.9).set_index("defence").loc["BIM_d"]
    assert row["adversarial_steps"] == np.concatenate(steps).mean()


def test_the_page_says_which_examples_count(measurements, evaluated, folder):
    results = json.loads((folder / "results.json").read_text())
    images = {path.name: path for path in folder.glob("*.png")}
    options = dataclasses.replace(OPTIONS, fooled_only=True)
    comparison = Comparison(evaluated[1], evaluated[0], ABOUT, measurements, options)
    only, every = "Only examples that fooled the classifier count.", "Every adversarial example"
    text = page.render(results, comparison, images)
    assert only in text
    assert every not in text
    text = (folder / "report.html").read_text()
    assert every in text
    assert only not in text


@pytest.mark.parametrize("folder", sorted((DOCS / "env1").glob("*/")), ids=lambda path: path.name)
def test_documented_tables_are_those_of_the_results(folder):
    results = json.loads((folder / "results.json").read_text())
    tables = {name: pd.DataFrame(rows) for name, rows in results.items() if isinstance(rows, list)}
    found = markdown.text(results["fooled"], tables, FIGURES.get(folder.name, NOTHING_PUBLISHED))
    kept = (folder / "tables.md").read_text()
    assert re.sub(NUMBER, "N", kept) == re.sub(NUMBER, "N", f"{found}\n")
    # The results have five decimals, so the last digit here may have been rounded twice.
    for ours, theirs in zip(re.findall(NUMBER, kept), re.findall(NUMBER, found), strict=True):
        decimals = len(ours.partition(".")[2])
        assert abs(float(ours) - float(theirs)) <= 1.01 * 10**-decimals * (decimals > 0)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium, which is not installed")
@pytest.mark.parametrize("width", [1280, 400])
def test_page_reads_in_a_browser(folder, tmp_path, width):
    page = tmp_path / "page.html"
    frame = f'<iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>'
    shown = (folder / "report.html").read_text().replace("</body>", f"{LOOK}</body>")
    (tmp_path / "report.html").write_text(shown)
    page.write_text(
        f"<title>wait</title>{frame}<script>onload = () => setTimeout(() => "
        "document.title = frames[0].document.title, 500)</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--dump-dom",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
    ]
    run = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in run.stderr
    seen = json.loads(run.stdout.split("<title>")[1].split("</title>")[0].replace("&quot;", '"'))
    assert len(seen["images"]) == 7
    assert all(seen["images"])
    assert seen["window"] == width
    assert seen["width"] <= width  # nothing overflows
    assert width == 400 or not seen["cut"]  # and no table has to be scrolled
    assert seen["font"] >= 12
    down, up = seen["sorted"]
    assert down == sorted(down, reverse=True) == up[::-1]
    assert down[0] > down[-1]
