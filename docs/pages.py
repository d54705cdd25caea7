"""Fill pages from the registries: a hook that MkDocs runs while it builds.

A registry is a package whose `__init__.py` imports what it registers, one line each. In a page,
`<!-- table: attacks -->` becomes a table of the attacks, and `<!-- reference: attacks -->` their
reference. Nothing is imported, so that pages build without TensorFlow.
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
    """Write the table of what a registry holds: a name and the first line about it.

    Args:
        registry: A key of `REGISTRIES`.

    Returns:
        The table, Markdown. Classes and functions are linked to their reference.
    """
    package = REGISTRIES[registry]
    rows = ["| name | what it is |", "|---|---|"]
    for name, (line, has_reference) in registered(package).items():
        shown = f"[`{name}`][{package}.{name}]" if has_reference else f"`{name}`"
        rows.append(f"| {shown} | {line} |")
    return "\n".join(rows)


def reference(registry):
    """Write what mkdocstrings turns into the reference of each thing that a registry holds.

    Args:
        registry: A key of `REGISTRIES`.

    Returns:
        A block for each class and function, Markdown.
    """
    package = REGISTRIES[registry]
    return "\n\n".join(
        f"::: {package}.{name}\n    options:\n      members: false"  # the base class documents them
        for name, (_, has_reference) in registered(package).items()
        if has_reference
    )


def registered(package, root=ROOT):
    """Read what a package registers from the text of its `__init__.py`.

    Args:
        package: The package's dotted name.
        root: The folder that it lies in. Defaults to the checkout.

    Returns:
        A dict by name, sorted: the first line of documentation, and whether the thing is a class
        or function, with a reference of its own.
    """
    tree = ast.parse(_source(package, root).read_text())
    found = {
        alias.asname or alias.name: _describe(node.module, alias.name, root)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"{package}.")
        for alias in node.names
        if alias.name not in BASES
    }
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _describe(module, name, root):
    """Read the first line about a class or function, or that of the module of a value."""
    tree = ast.parse(_source(module, root).read_text())
    node = next((node for node in tree.body if getattr(node, "name", None) == name), tree)
    line = (ast.get_docstring(node) or "").partition("\n\n")[0]
    return " ".join(line.split()).replace("|", "\\|"), node is not tree


def _source(module, root):
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
