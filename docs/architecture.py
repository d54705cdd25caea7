"""Draw the rooms of the plugin and what they import: `python -m docs.architecture`.

It reads the imports of `a2d_keras` from its source, so the picture is what the code is. An import
that another one implies is not drawn: where cli imports detection and detection imports attacks,
cli may import attacks too.
"""

import ast
import json
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
PICTURE = pathlib.Path(__file__).parent / "figures" / "architecture.png"
PACKAGE = "a2d_keras"
CAPTIONS = {
    "attacks": "one family a file",
    "attacks.engine": "the compiled loop",
    "beam": "Apache Beam",
    "callbacks": "in fit and predict",
    "classifier": "a model as logits",
    "cli": "the command line",
    "detection": "guard, layer, adapt",
    "detection.rules": "numbers to verdicts",
    "files": "atomic writes",
    "inputs": "checked at the door",
    "precision": "bfloat16, float16",
    "redteam": "attacks on ourselves",
    "statistics": "a number per input",
    "validation": "plain arguments",
}
_NO_ROOMS = ("__init__", "__main__", "version")
_WIDTH, _BOX, _ROW = 9.0, (2.7, 0.78), 1.3


def rooms(root=ROOT / PACKAGE):
    """Read what each room imports.

    Args:
        root: The folder of the package. Defaults to that of the plugin.

    Returns:
        The rooms that each room imports: a dict of sets by name, itself left out.
    """
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] in _NO_ROOMS:
            continue
        room = _room(root, parts)
        imported = {_room(root, target) for target in _imports(root, path)}
        found.setdefault(room, set()).update(imported - {room, *_NO_ROOMS})
    return found


def reduced(graph):
    """Leave out every import that others imply.

    Args:
        graph: The rooms that each room imports.

    Returns:
        The same without them.

    Raises:
        ValueError: If imports go in a circle.
    """
    reach = {}

    def visit(room, above):
        if room in above:
            raise ValueError(f"Imports must not go in a circle. Received: {[*above, room]}")
        if room not in reach:
            below = [visit(other, (*above, room)) | {other} for other in sorted(graph[room])]
            reach[room] = set().union(*below)
        return reach[room]

    for room in graph:
        visit(room, ())
    return {
        room: {n for n in direct if not any(n in reach[other] for other in direct)}
        for room, direct in graph.items()
    }


def main():
    """Draw the picture."""
    import matplotlib.pyplot as plt  # here, so that the rest works without it

    graph = reduced(rooms())
    rows = _rows(graph)
    height = _ROW * len(rows)
    figure, axis = plt.subplots(figsize=(_WIDTH * 0.66, height * 0.72), layout="constrained")
    axis.set(xlim=(0, _WIDTH), ylim=(-height + _ROW / 2, _ROW / 2))
    axis.axis("off")
    places = {}
    for level, row in enumerate(rows):
        for index, room in enumerate(row):
            places[room] = ((index + 0.5) * _WIDTH / len(row), -level * _ROW)
    for room, direct in graph.items():
        for other in direct:
            _arrow(axis, places[room], places[other])
    for room, place in places.items():
        _box(axis, room, place)
    figure.savefig(PICTURE, dpi=150, metadata={"Description": described(graph)})
    print(f"Written to {PICTURE.relative_to(ROOT)}.")


def described(graph):
    """Write the graph as text, which the picture keeps, so that a test sees when it is stale.

    Args:
        graph: The rooms that each room imports.

    Returns:
        JSON.
    """
    return json.dumps({room: sorted(direct) for room, direct in sorted(graph.items())})


def _imports(root, path):
    """List what a file imports of the package, as module paths within it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            base = tuple(node.module.split(".")[1:])
            for alias in node.names:
                target = (*base, alias.name)
                exists = root.joinpath(*target).exists() or _file(root, target).exists()
                if exists or base:
                    yield target if exists else base


def _room(root, parts):
    """Tell which room a module lies in: its package, or itself at the top."""
    if len(parts) == 1:
        return parts[0]
    folder = parts if root.joinpath(*parts).is_dir() else parts[:-1]
    return ".".join(folder)


def _file(root, parts):
    return root.joinpath(*parts[:-1], f"{parts[-1]}.py")


def _rows(graph):
    """Place every room in a row below all that import it, near those."""
    users = {room: [r for r, direct in graph.items() if room in direct] for room in graph}
    levels = {}

    def level(room):
        if room not in levels:
            levels[room] = 1 + max((level(user) for user in users[room]), default=-1)
        return levels[room]

    rows = [[] for _ in range(1 + max(level(room) for room in graph))]
    for room in sorted(graph):
        rows[levels[room]].append(room)
    position = {}
    for row in rows:
        around = {r: [position[u] for u in users[r]] or [0.5] for r in row}
        row.sort(key=lambda r: sum(around[r]) / len(around[r]))
        position |= {room: (index + 0.5) / len(row) for index, room in enumerate(row)}
    return rows


def _arrow(axis, start, end):
    far = abs(start[1] - end[1]) > 1.5 * _ROW
    bend = (0.18 if end[0] <= start[0] else -0.18) if far else 0
    style = {"arrowstyle": "-|>", "color": "#7a869a", "linewidth": 1.4, "mutation_scale": 16}
    style |= {"connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 2}
    top, bottom = (start[0], start[1] - _BOX[1] / 2), (end[0], end[1] + _BOX[1] / 2)
    axis.annotate("", xy=bottom, xytext=top, arrowprops=style, zorder=1)


def _box(axis, room, place):
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = place, _BOX
    corner = (x - width / 2, y - height / 2)
    style = {"boxstyle": "round,pad=0,rounding_size=0.12", "facecolor": "#e8eef7", "zorder": 2}
    axis.add_patch(FancyBboxPatch(corner, width, height, edgecolor="#3b6fb6", **style))
    text = {"ha": "center", "va": "center", "zorder": 3}
    caption = CAPTIONS.get(room)
    axis.text(x, y + (0.16 if caption else 0), room, fontsize=12.5, fontweight="bold", **text)
    if caption:
        axis.text(x, y - 0.19, caption, fontsize=11, color="#33415c", **text)


if __name__ == "__main__":
    main()
