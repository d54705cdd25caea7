"""Fill pages from the registries: a hook that MkDocs runs while it builds.

A registry is a package whose `__init__.py` imports what it registers, one line each. In a page,
`<!-- table: attacks -->` becomes a table of them, and `<!-- reference: attacks -->` their reference.
Nothing is imported, so that pages build without TensorFlow.
"""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
REGISTRIES = {
    "attacks": "a2d_keras.attacks",
    "statistics": "a2d_keras.statistics",
    "rules": "a2d_keras.detection.rules",
    "baselines": "baselines",
    "datasets": "models",
}
BASES = {"Attack", "StepAttack", "AttackResult", "Statistic", "Rule", "Baseline"}
_MARKER = re.compile(r"^<!-- (table|reference): (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown, **kwargs):
    """Replace the markers of a page; MkDocs calls this for each page.

    Args:
        markdown: The text of the page.
        **kwargs: Ignored.

    Returns:
        The text with tables and references in place of the markers.
    """
    makers = {"table": table, "reference": reference}
    return _MARKER.sub(lambda found: makers[found[1]](found[2]), markdown)


def table(registry):
    """Write the table of what a registry holds: a linked name and the first line about it.

    Args:
        registry: A key of `REGISTRIES`.

    Returns:
        The table, Markdown.
    """
    package = REGISTRIES[registry]
    rows = [
        f"| [`{name}`][{package}.{name}] | {line} |" for name, line in registered(package).items()
    ]
    return "\n".join(["| name | what it is |", "|---|---|", *rows])


def reference(registry):
    """Write what mkdocstrings turns into the reference of each thing that a registry holds.

    Args:
        registry: A key of `REGISTRIES`.

    Returns:
        Its blocks, Markdown.
    """
    package = REGISTRIES[registry]
    return "\n\n".join(f"::: {package}.{name}" for name in registered(package))


def registered(package, root=ROOT):
    """Read what a package registers from the text of its `__init__.py`.

    Args:
        package: The package's dotted name.
        root: The folder that it lies in. Defaults to the checkout.

    Returns:
        The first line of documentation of each registered thing: a dict by name, sorted.
    """
    tree = ast.parse(_source(package, root).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    found = {
        alias.asname or alias.name: _first_line(node.module, alias.name, root)
        for node in imports
        for alias in node.names
        if node.module.startswith(f"{package}.") and alias.name not in BASES
    }
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _first_line(module, name, root):
    """Read the first line about a class or function, or of the module where it is a value."""
    tree = ast.parse(_source(module, root).read_text())
    nodes = (node for node in tree.body if getattr(node, "name", None) == name)
    text = ast.get_docstring(next(nodes, tree)) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def _source(module, root):
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
