"""Run the notebooks, and keep their outputs in them: `python -m examples.notebooks`.

They run in a temporary folder, in order, since the first writes what some of the others read. The
one on photographs needs the folder of its data in `A2D_DATA_DIR`, or else keeps its outputs. Names
choose some: `python -m examples.notebooks guard_your_classifier red_team`.
"""

import os
import pathlib
import sys
import tempfile

import nbformat
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).parent
FIRST = "guard_your_classifier"
NAMES = (
    FIRST,
    "photographs",
    "false_positive_rate",
    "red_team",
    "adversarial_training",
    "extend",
)
NEED_DATA = ("photographs",)


def main(names=None):
    """Run notebooks and write them back.

    Args:
        names: Their names. Defaults to the words of the command line, or else to all.
    """
    names = names or sys.argv[1:] or NAMES
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name not in NEED_DATA or "A2D_DATA_DIR" in os.environ:
                nbformat.write(executed(name, folder), FOLDER / f"{name}.ipynb")
                print(f"{name}: written", flush=True)


def executed(name, folder):
    """Run a notebook.

    Args:
        name: Its name, one of `NAMES`.
        folder: The folder to run it in.

    Returns:
        The notebook with its new outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    notebook.metadata.language_info = {"name": "python"}  # without the version
    for cell in notebook.cells:
        if "outputs" in cell:  # TensorFlow logs what it finds on the machine
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def printed(notebook):
    """Collect what a notebook prints.

    Args:
        notebook: The notebook.

    Returns:
        A list of text for each cell of code.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")
        for cell in cells
    ]


if __name__ == "__main__":
    main()
