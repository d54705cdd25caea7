"""Fill pages from the registries and notebooks: a hook that MkDocs runs while it builds.

A registry is a module with one line for each entry: an import, or the name of a module in `NAMES`.
In a page, `<!-- table: attacks -->` becomes a table of the attacks, and
`<!-- reference: attacks -->` becomes their reference. The source is read and not run, so pages
build without TensorFlow.

Each notebook in `examples/` becomes a page in `tutorials/`, with the outputs that it has stored.
"""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
REGISTRIES = {
    "attacks": "a2d_keras.attacks",
    "statistics": "a2d_keras.statistics",
    "rules": "a2d_keras.detection.rules",
    "redteam": "a2d_keras.redteam",
    "baselines": "baselines.registry",
    "datasets": "models.registry",
}
BASES = {"Adversary", "Attack", "StepAttack", "Statistic", "Rule", "Baseline", "Record"}
# Where the README's pictures are for a package index, which shows no relative ones.
_PUBLISHED = "https://raw.githubusercontent.com/a2d-keras/a2d-keras/main/docs/"
_MARKER = re.compile(r"^<!-- (table|reference): (\w+) -->$", re.MULTILINE)


def on_files(files, config):
    """Add a page for each notebook, and its pictures; MkDocs calls this once.

    Args:
        files: The files of the site.
        config: The configuration.

    Returns:
        The files, with those of the notebooks.
    """
    from mkdocs.structure.files import File  # tests read the registries without MkDocs

    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        page, pictures = tutorial(path)
        made = {f"{path.stem}.md": page, path.name: path.read_bytes(), **pictures}
        for name, content in made.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def tutorial(path):
    """Write the page of a notebook.

    Args:
        path: The notebook, a `pathlib.Path`.

    Returns:
        The page, Markdown, and its pictures, a dict from file names to bytes.
    """
    from nbconvert import MarkdownExporter

    names = {"unique_key": path.stem, "output_files_dir": ""}
    page, resources = MarkdownExporter().from_filename(str(path), names)
    page = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", page.replace("](../docs/", "](../"))
    title, rest = page.lstrip().split("\n", 1)
    return f"{title}\n\n[This page as a notebook]({path.name})\n{rest}", resources["outputs"]


def on_page_markdown(markdown, **kwargs):
    """Fill the markers of a page, and make pictures local; MkDocs calls this for each page.

    Args:
        markdown: The text of the page.
        **kwargs: Ignored.

    Returns:
        The text with tables and references in place of the markers.
    """
    makers = {"table": table, "reference": reference}
    markdown = markdown.replace(_PUBLISHED, "")  # pages load nothing from the network
    return _MARKER.sub(lambda found: makers[found[1]](found[2]), markdown)


def table(registry):
    """Write the table of a registry: each name, and the first line of its docstring.

    Args:
        registry: A key of `REGISTRIES`.

    Returns:
        The table, Markdown. Classes and functions link to their reference.
    """
    package = REGISTRIES[registry]
    rows = ["| name | what it is |", "|---|---|"]
    for name, (line, has_reference) in registered(package).items():
        shown = f"[`{name}`][{package}.{name}]" if has_reference else f"`{name}`"
        rows.append(f"| {shown} | {line} |")
    return "\n".join(rows)


def reference(registry):
    """Write the directives that mkdocstrings turns into the reference of each entry.

    Args:
        registry: A key of `REGISTRIES`.

    Returns:
        A block for each class and function, Markdown.
    """
    package = REGISTRIES[registry]
    return "\n\n".join(
        f"::: {package}.{name}\n    options:\n      heading_level: 3\n"
        "      members: false"  # the base class documents them
        for name, (_, has_reference) in registered(package).items()
        if has_reference
    )


def registered(registry, root=ROOT):
    """Read the entries of a registry from its source.

    Args:
        registry: The dotted name of its module.
        root: The folder of the packages. Defaults to the checkout.

    Returns:
        A dict by name, sorted: the first line of the docstring, and whether the entry is a class
        or function, which has its own reference.
    """
    path = _source(registry, root)
    package = registry if path.name == "__init__.py" else registry.rpartition(".")[0]
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"{package}."):
            names = [alias.name for alias in node.names if alias.name not in BASES]
            found |= {name: _describe(node.module, name, root) for name in names}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "NAMES":
            names = ast.literal_eval(node.value)
            found |= {name: _describe(f"{package}.{name}", name, root) for name in names}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _describe(module, name, root):
    """Read the first line of the docstring of a class or function, or else of its module."""
    tree = ast.parse(_source(module, root).read_text())
    node = next((node for node in tree.body if getattr(node, "name", None) == name), tree)
    line = (ast.get_docstring(node) or "").partition("\n\n")[0]
    return " ".join(line.split()).replace("|", "\\|"), node is not tree


def _source(module, root):
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
