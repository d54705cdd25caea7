"""Draw the rooms of the plugin and what they import: `python -m docs.architecture`.

It reads the imports of `a2d_keras` from its source, so the picture always matches the code. A room
is a package, or a module outside of any. A module that only one room imports is part of that room.
A module of a package is a room of its own if a package inside that package imports it. Imports that
follow from others are not drawn: if cli imports detection and detection imports attacks, cli may
import attacks too. Every room may import the floor, which is drawn without arrows.
"""

import ast
import json
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
PICTURE = pathlib.Path(__file__).parent / "figures" / "architecture.png"
PACKAGE = "a2d_keras"
FLOOR = "validation"
CAPTIONS = {
    "attacks": "one family a file",
    "attacks.engine": "the compiled loop",
    "beam": "Apache Beam",
    "callbacks": "in fit and predict",
    "classifier": "a model as logits",
    "cli": "the command line",
    "detection": "guard, layer, adapt",
    "detection.conformal": "ranks to thresholds",
    "detection.rules": "numbers to verdicts",
    "files": "atomic writes",
    "inputs": "checked at the door",
    "options": "of a run, of a guard",
    "precision": "bfloat16, float16",
    "redteam": "attacks on ourselves",
    "statistics": "a number per input",
    "warn": "warnings at the user's line",
    "validation": "refuses bad arguments, for every room",
}
_NO_ROOMS = ("__init__", "__main__", "version")
_WIDTH, _BOX, _ROW = 9.0, (2.7, 0.78), 1.3


def rooms(root=ROOT / PACKAGE):
    """Read what each room imports.

    Args:
        root: The folder of the package. Defaults to that of the plugin.

    Returns:
        The other rooms that each room imports: a dict of sets by name.
    """
    imports = _module_imports(root)
    shared = {
        other
        for module, others in imports.items()
        for other in others
        if other[:-1] and _inside(module[:-1], other[:-1])
    }
    room_of = {m: m if len(m) == 1 or m in shared else m[:-1] for m in imports}
    while True:
        graph = {room: set() for room in room_of.values()}
        for module, others in imports.items():
            room = room_of[module]
            graph[room] |= {room_of[other] for other in others} - {room}
        alone = _module_of_one_room(graph, imports)
        if alone is None:
            return {".".join(room): {".".join(o) for o in others} for room, others in graph.items()}
        module, user = alone
        room_of = {m: user if room == module else room for m, room in room_of.items()}


def reduced(graph):
    """Leave out every import that follows from others.

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
    rows = _rows({room: others - {FLOOR} for room, others in graph.items() if room != FLOOR})
    height = _ROW * (len(rows) + 1)
    figure, axis = plt.subplots(figsize=(_WIDTH * 0.66, height * 0.72), layout="constrained")
    axis.set(xlim=(0, _WIDTH), ylim=(-height + _ROW / 2, _ROW / 2))
    axis.axis("off")
    places = {}
    for level, row in enumerate(rows):
        for index, room in enumerate(row):
            places[room] = ((index + 0.5) * _WIDTH / len(row), -level * _ROW)
    for room, place in places.items():
        for other in graph[room] - {FLOOR}:
            _arrow(axis, place, places[other])
        _box(axis, room, place, _BOX)
    _box(axis, FLOOR, (_WIDTH / 2, _ROW - height), (_WIDTH - 0.3, _BOX[1]))
    figure.savefig(PICTURE, dpi=150, metadata={"Description": described(graph)})
    print(f"Written to {PICTURE.relative_to(ROOT)}.")


def described(graph):
    """Write the graph as text. The picture keeps it, so that a test can find a stale picture.

    Args:
        graph: The rooms that each room imports.

    Returns:
        JSON.
    """
    return json.dumps({room: sorted(direct) for room, direct in sorted(graph.items())})


def _module_imports(root):
    """Read the modules that each module imports, as tuples of names within the package."""
    paths = {path.relative_to(root).with_suffix("").parts: path for path in root.rglob("*.py")}
    paths = {parts: path for parts, path in sorted(paths.items()) if parts[0] not in _NO_ROOMS}
    found = {}
    for parts, path in paths.items():
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        named = [
            (*node.module.split("."), alias.name)[1:]
            for node in nodes
            if node.module and node.module.split(".")[0] == PACKAGE
            for alias in node.names
        ]
        candidates = [_module(name, paths) for name in named]
        found[parts] = {other for other in candidates if other not in (None, parts)}
    return found


def _module(name, modules):
    """Find the module that an imported name is, or belongs to."""
    for parts in (name, (*name, "__init__"), name[:-1], (*name[:-1], "__init__")):
        if parts in modules:
            return parts
    return None


def _inside(inner, outer):
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _module_of_one_room(graph, modules):
    """Find a module outside of any package that only one room imports, and that room."""
    for room in graph:
        users = [user for user, others in graph.items() if room in others]
        if room in modules and len(room) == 1 and len(users) == 1 and users[0] not in graph[room]:
            return room, users[0]
    return None


def _rows(graph):
    """Place every room in a row below all rooms that import it, and near them."""
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


def _box(axis, room, place, size):
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = place, size
    corner = (x - width / 2, y - height / 2)
    style = {"boxstyle": "round,pad=0,rounding_size=0.12", "facecolor": "#e8eef7", "zorder": 2}
    axis.add_patch(FancyBboxPatch(corner, width, height, edgecolor="#3b6fb6", **style))
    text = {"ha": "center", "va": "center", "zorder": 3}
    caption = CAPTIONS.get(room)
    size = 12.5 * min(1, 15.5 / len(room))
    axis.text(x, y + (0.16 if caption else 0), room, fontsize=size, fontweight="bold", **text)
    if caption:
        axis.text(x, y - 0.19, caption, fontsize=11, color="#33415c", **text)


if __name__ == "__main__":
    main()
