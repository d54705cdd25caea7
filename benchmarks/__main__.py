"""Measure the time that detection takes: `python -m benchmarks --data-dir D`.

One command runs every comparison, part after part, and writes each once it is done. D holds
`mnist.npz`, `cifar10.npz`, and the files that `models/imagenet.py` reads. If something is missing,
the table says so.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import os
import pathlib
import platform
import sys

from a2d_keras.version import __version__
from benchmarks import results
from benchmarks.rows import Row
from benchmarks.subjects import FULL, QUICK, Bench
from benchmarks.timing import timed

PARTS = {  # imported one by one, since peers may not be installed
    "price": "benchmarks.verdict_price",
    "verdicts": "benchmarks.verdict_gradients",
    "loop": "benchmarks.loop_overhead",
    "precision": "benchmarks.reduced_precision",
    "reference": "benchmarks.peers.reference",
    "cleverhans": "benchmarks.peers.cleverhans",
    "art": "benchmarks.peers.art",
    "foolbox": "benchmarks.peers.foolbox",
    "decisions": "benchmarks.peers.decisions",
    "inputs": "benchmarks.scaling_inputs",
    "size": "benchmarks.scaling_size",
    "out": "benchmarks.scaling_out",
    "cost": "benchmarks.scaling_cost",
    "first_call": "benchmarks.first_call",
}
_PACKAGES = ("tensorflow", "keras", "numpy", "cleverhans")
_PEERS = ("adversarial-robustness-toolbox", "foolbox")


def main(argv=None):
    """Run the parts, and print the table.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    arguments = _parse(words)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(QUICK if arguments.quick else FULL, arguments.data_dir, out)
    about = _about(" ".join([*_settings(), "python -m benchmarks", *words]))
    for part in arguments.only or PARTS:
        seconds, rows = timed(lambda part=part: list(_printed(part, bench)))
        kept = results.read(out) | {part: {"about": {**about, "seconds": seconds}, "rows": rows}}
        results.write(out, {name: kept[name] for name in PARTS if name in kept})
    print(f"\n{results.table(results.read(out))}")
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _printed(part, bench):
    """Run a part, and yield its records, printing each."""
    for row in _rows(part, bench):
        record = results.record(row)
        print(f"{part}: {results.sentence(record)}", flush=True)
        yield record


def _rows(part, bench):
    try:
        yield from importlib.import_module(PARTS[part]).rows(bench)
    except ModuleNotFoundError as error:
        yield Row(part, None, note=f"it needs the extra `benchmarks`: {error}")
    except FileNotFoundError as error:
        yield Row(part, None, note=f"the rest needs a file: {error}")


def _settings():
    """List the environment variables that change TensorFlow's kernels, and so the times."""
    name = "TF_ENABLE_ONEDNN_OPTS"
    return [f"{name}={os.environ[name]}"] if name in os.environ else []


def _about(command):
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "versions": {
            "a2d-keras": __version__,
            "Python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
            **{name: _version(name) for name in _PEERS},
        },
        "seeds": "all 0",
    }


def _processor():
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _parse(words):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--data-dir",
        default=os.environ.get("A2D_DATA_DIR"),
        help="folder of the data (the environment variable A2D_DATA_DIR)",
    )
    parser.add_argument("--out", default="results/benchmarks", help="the folder (%(default)s)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of {', '.join(PARTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="measure digits only, in minutes")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
