"""Run exported programs: `python -m benchmarks.accelerator.run EXPORT`. It needs JAX alone.

Each program is compiled, its results are compared with those that TensorFlow gave, and it is
timed. The results are printed as JSON, one line for each program.
"""

import argparse
import gzip
import json
import pathlib
import time

import jax
import numpy as np
from jax._src.interpreters import mlir
from jaxlib import _jax
from jaxlib.mlir import ir

_EQUAL = 0.95  # the least share of results that must be equal
_REPEATS = 5
_LONG = 5.0  # seconds, after which no repeat begins
_PEAKS = {  # floating-point operations a second, without sparsity, as NVIDIA's data sheets say
    "A100": {"float32": 19.5e12, "bfloat16": 312e12},
    "H100": {"float32": 67e12, "bfloat16": 989e12},
    "H200": {"float32": 67e12, "bfloat16": 989e12},
}


def main(argv=None):
    """Run all programs, and print what was found.

    Args:
        argv: Command line words. Defaults to those of the process.

    Returns:
        The exit status: 1 if the results of a program differ from the stored ones.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.run")
    parser.add_argument("export", help="the folder that benchmarks.accelerator.export wrote")
    parser.add_argument("--only", default="", help="run programs whose name contains this")
    arguments = parser.parse_args(argv)
    folder = pathlib.Path(arguments.export)
    programs = json.loads((folder / "programs.json").read_text())
    ok = True
    for program in programs:
        if arguments.only in program["name"]:
            found = measure(folder, program)
            ok &= found["ok"]
            print(json.dumps(found), flush=True)
    return 0 if ok else 1


def measure(folder, program):
    """Compile a program, check it and time it.

    Args:
        folder: The folder of the export, a `pathlib.Path`.
        program: One entry of its `programs.json`.

    Returns:
        A dict: `name`, `device`, `ok`, `equal` (the share of equal results), `compile_seconds`,
        `seconds` (the median), `inputs_per_second`, `gradients_per_second`, and `share_of_peak`
        (None if the peak of the device is unknown).
    """
    device = jax.devices()[0]
    code = gzip.decompress((folder / f"{program['name']}.mlir.gz").read_bytes()).decode()
    with jax.enable_x64(True):  # counts have 64 bits
        started = time.perf_counter()
        execute = compiled(code, device)
        compile_seconds = time.perf_counter() - started
        count = program["count"]
        images = np.resize(_read(folder, program["images"]), (count, *program["shape"]))
        x = (images / np.float32(255)).astype("float32")
        values = [x, *(_read(folder, name) for name in program["weights"])]
        placed = [jax.device_put(value, device) for value in values]
        results = execute(placed)
        seconds = np.median(_seconds(execute, placed))
    found = dict(zip(program["outputs"], map(np.asarray, results), strict=True))
    equal = min(
        float(np.mean(np.resize(_read(folder, name), count) == found[key]))
        for key, name in program["expected"].items()
        if key in program["compared"]
    )
    gradients = int(found["gradients"].sum())
    rate, peak = gradients / seconds, _peak(device, program["precision"])
    return {
        "name": program["name"],
        "device": device.device_kind,
        "ok": equal >= _EQUAL,
        "equal": equal,
        "compile_seconds": compile_seconds,
        "seconds": seconds,
        "inputs_per_second": count / seconds,
        "gradients_per_second": rate,
        "share_of_peak": peak and rate * program["operations_per_gradient"] / peak,
    }


def compiled(code, device):
    """Compile StableHLO.

    Args:
        code: The text of a module.
        device: The device of JAX.

    Returns:
        A function that takes a list of arrays on the device, and returns a list of arrays.
    """
    with mlir.make_ir_context():
        module = ir.Module.parse(code)
        bytecode = mlir.module_to_bytecode(module)
    devices = _jax.DeviceList((device,))
    executable = device.client.compile_and_load(bytecode, devices, _jax.CompileOptions())

    def execute(values):
        results = executable.execute(values)
        return jax.block_until_ready(results)

    return execute


def _read(folder, name):
    with np.load(folder / f"{name}.npz") as arrays:
        return arrays["arr_0"]


def _seconds(execute, values):
    """Time repeats. A program that takes long has fewer of them."""
    seconds = []
    while len(seconds) < _REPEATS and sum(seconds) < _LONG:
        started = time.perf_counter()
        execute(values)
        seconds.append(time.perf_counter() - started)
    return seconds


def _peak(device, precision):
    known = (peaks for card, peaks in _PEAKS.items() if card in device.device_kind)
    return next(known, {}).get(precision)


if __name__ == "__main__":
    raise SystemExit(main())
