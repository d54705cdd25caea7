"""The command `explain`: a picture of one verdict, or a page of several."""

import argparse
import base64
import importlib.resources
import importlib.util
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from a2d_keras.classifier import Classifier
from a2d_keras.cli.images import channel_axis
from a2d_keras.cli.outcome import ERROR, SOME_FLAGGED, Outcome
from a2d_keras.cli.readers import Reader, Row, read
from a2d_keras.cli.reasons import Explanation, class_names, classified, drawable, explained
from a2d_keras.cli.saved_models import load_guarded
from a2d_keras.cli.sources import listed
from a2d_keras.detection.guarded_model import GuardedModel
from a2d_keras.files import replace_atomically
from a2d_keras.progress import stage

_NEEDED = ("jinja2", "matplotlib")
_PAGE = ".html"


class Explained(NamedTuple):
    """An image and its verdict.

    Attributes:
        name: Its name.
        flagged: Whether it was flagged.
        prediction: Its class, and how sure the classifier is, such as `9 (98 %)`.
        explanation: Why. None if it could not be read.
        image: The image, as for a `Subject`. None if it could not be read.
        error: Why it could not be read. Defaults to nothing.
    """

    name: str
    flagged: bool
    prediction: str
    explanation: Explanation | None
    image: np.ndarray | None
    error: str = ""

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        if self.explanation is None:
            return f"{self.name} could not be read."
        return (
            f"{self.name} is {'flagged as adversarial' if self.flagged else 'not flagged'}: it is "
            f"classified as {self.prediction}, and {self.explanation.account.clause}."
        )

    @property
    def summary(self) -> dict[str, Any]:
        """The verdict for programs."""
        if self.explanation is None:
            return {"input": self.name, "error": self.error}
        account = self.explanation.account.summary
        return {"input": self.name, "is_adversarial": self.flagged, **account}


def explain(arguments: argparse.Namespace) -> Outcome:
    """Draw why images got their verdicts.

    Args:
        arguments: The parsed arguments.

    Returns:
        The `Outcome`.
    """
    _require_extras()
    guarded = load_guarded(arguments.model)
    classifier = guarded.detector.classifier
    options = {"resize": arguments.resize, "strict": arguments.strict}
    readers = [read(source, classifier, **options) for source in arguments.inputs]
    count = _require_images(readers, classifier, arguments.out)
    names = class_names(arguments.classes, classifier)
    with replace_atomically(arguments.out) as part:
        found = []
        with stage("explaining", count, unit="image") as update:
            for number, row in enumerate((row for r in readers for row in r.rows()), 1):
                found.append(_explained(guarded, row, names))
                update(number)
        if all(each.explanation is None for each in found):
            raise ValueError(found[0].error)
        _write(part, found, str(arguments.model))
    return _outcome(found, readers, arguments.out)


def _outcome(found: Sequence[Explained], readers: Sequence[Reader], out: str) -> Outcome:
    flagged = sum(each.flagged for each in found)
    wrong = any(each.explanation is None for each in found)
    status = SOME_FLAGGED if flagged else ERROR if wrong else 0
    skipped = [name for reader in readers for name in reader.source.skipped]
    if len(found) == 1 and not skipped:
        sentence = f"{found[0].sentence} Written to {out}."
        return Outcome(sentence, {**found[0].summary, "output": out}, status)
    sentences = [each.sentence for each in found]
    if skipped:
        sentences.append(f"{len(skipped)} skipped, no PNG or JPEG: {listed(skipped)}.")
    summary = {
        "inputs": len(found),
        "flagged": flagged,
        "rows": [each.summary for each in found],
        "skipped": skipped,
        "output": out,
    }
    return Outcome("\n".join([*sentences, f"Written to {out}."]), summary, status)


def _explained(guarded: GuardedModel, row: Row, names: Sequence[str]) -> Explained:
    if row.image is None:
        return Explained(row.name, False, "", None, None, row.error)
    image, classifier = row.image[None], guarded.detector.classifier
    verdict = guarded.predict(image, verbose=0)
    explanation = explained(guarded.detector, image, verdict, names)
    prediction = classified(classifier, image, names)
    flagged = bool(verdict["is_adversarial"][0])
    return Explained(row.name, flagged, prediction, explanation, drawable(image, classifier))


def _write(path: pathlib.Path, found: Sequence[Explained], model: str) -> None:
    if path.suffix.lower() != _PAGE:
        _draw(found[0], path)
        return
    import jinja2

    with tempfile.TemporaryDirectory() as folder:
        pictures = [_picture(each, pathlib.Path(folder) / "picture.png") for each in found]
    template = importlib.resources.files("a2d_keras.cli").joinpath("explain.html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template.read_text(encoding="utf-8"))
    flagged = sum(each.flagged for each in found)
    rows = list(zip(found, pictures, strict=True))
    path.write_text(page.render(rows=rows, flagged=flagged, model=model), encoding="utf-8")


def _picture(each: Explained, path: pathlib.Path) -> str | None:
    """Draw one image, as an address that holds the whole picture."""
    if each.explanation is None:
        return None
    _draw(each, path)
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _draw(each: Explained, path: pathlib.Path) -> None:
    from a2d_keras.cli import picture

    assert each.explanation is not None
    assert each.image is not None
    each.explanation.draw(
        path, picture.Subject(each.name, each.image, each.prediction, each.flagged)
    )


def _require_images(readers: Sequence[Reader], classifier: Classifier, out: str) -> int:
    """Refuse what cannot be drawn, before any work; return how many images there are."""
    shape = classifier.input_shape
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[channel_axis(classifier)] in (1, 3, 4))
    named = ", ".join(reader.source.named for reader in readers)
    totals = [reader.total for reader in readers]
    count = sum(total or 0 for total in totals)
    if not is_image or None in totals or count == 0:
        raise ValueError(f"`explain` takes images. Received: {named}")
    if count > 1 and not out.lower().endswith(_PAGE):
        raise ValueError(
            f"Several images make a page: write to a file that ends in {_PAGE}. "
            f"Received: {count} images, and {out}"
        )
    return count


def _require_extras() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            "`explain` draws with matplotlib and jinja2: `pip install a2d-keras[plot]`. "
            f"Received: no {' and no '.join(missing)}"
        )
