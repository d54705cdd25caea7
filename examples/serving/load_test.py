"""How long clients wait: `python -m examples.serving.load_test`.

It serves the classifier of the digits, guarded by default and as the paper does. Each client asks
for one digit after another, half of them adversarial, and checks every answer.
"""

import argparse
import concurrent.futures
import http.client
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

import a2d_keras as a2d
from models import datasets, zoo

ROOT = pathlib.Path(__file__).parent.parent.parent
GUARDS = {"default": {}, "paper's (BIM)": {"rule": "zscore"}}
COLUMNS = ["guard", "clients", "requests", "a second", "p50 ms", "p95 ms", "p99 ms", "lost"]


class Running:
    """A service in a process of its own, on a free port.

    Args:
        model: The folder of the exported model.
        *options: More options of the service.

    Attributes:
        port: The port.
        log: The lines of its log, dicts.
    """

    def __init__(self, model, *options):
        command = [sys.executable, "-m", "examples.serving.service", str(model), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self.log = []

    def wait(self):
        """Wait until the service is ready."""
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if '"message": "ready"' in line:
                break
        else:
            raise RuntimeError("".join(self.log))
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
        self._reader.start()
        return self

    def stop(self):
        """Stop the service as an orchestrator would."""
        self.process.terminate()
        self._reader.join()
        self.process.wait()
        self.process.stderr.close()


def measure(port, clients, seconds, asked):
    """Let clients ask a service.

    Args:
        port: The service's port.
        clients: How many ask at once.
        seconds: How long they ask.
        asked: Pairs of a body and the predictions that it must get, float32, (1, classes).

    Returns:
        The seconds that each right answer took, and how many requests got none.
    """
    together = threading.Barrier(clients)

    def client(number):
        connection, waited, lost = http.client.HTTPConnection("127.0.0.1", port), [], 0
        together.wait()
        end = time.perf_counter() + seconds
        for body, expected in itertools.cycle(asked[number % len(asked) :] + asked):
            start = time.perf_counter()
            if start > end:
                break
            if _is_right(connection, body, expected):
                waited.append(time.perf_counter() - start)
            else:
                lost += 1
        connection.close()
        return waited, lost

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        waited, lost = zip(*pool.map(client, range(clients)), strict=True)
    return np.concatenate(waited), sum(lost)


def _is_right(connection, body, expected):
    try:
        connection.request("POST", "/detect", body)
        answer = json.load(connection.getresponse())
        return np.allclose(answer["outputs"]["predictions"], expected, atol=1e-4)
    except (OSError, http.client.HTTPException, KeyError):
        connection.close()  # the next request opens it again
        return False


def main(argv=None):
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=10, help="for each row (10)")
    options = parser.parse_args(argv)
    print("|", " | ".join(COLUMNS), "|\n|---" + "|---:" * (len(COLUMNS) - 1) + "|")
    digits = datasets.load("digits")
    for name, how in GUARDS.items():
        guarded = a2d.guard(zoo.load("digits"), **how)
        guarded.adapt(digits.x_test[300:], verbose=0)
        attack = a2d.BIM(eps_iter=0.01, max_iterations=50)
        adversarial = attack(guarded.detector.classifier, digits.x_test[:100]).adversarial
        x = np.stack([digits.x_test[:100], adversarial], axis=1).reshape(200, 1, 8, 8, 1)
        predictions = guarded.predict(np.concatenate(x), verbose=0)["predictions"]
        bodies = [json.dumps({"inputs": each.tolist()}) for each in x]
        asked = list(zip(bodies, predictions, strict=True))
        with tempfile.TemporaryDirectory() as folder:
            guarded.export(folder, verbose=False)
            service = Running(folder).wait()
            measure(service.port, 4, 2, asked)  # not counted
            for clients in options.clients:
                waited, lost = measure(service.port, clients, options.seconds, asked)
                quantiles = np.quantile(1000 * waited, [0.5, 0.95, 0.99])
                row = [name, clients, len(waited), f"{len(waited) / options.seconds:.0f}"]
                row += [*(f"{milliseconds:.1f}" for milliseconds in quantiles), lost]
                print("|", " | ".join(map(str, row)), "|", flush=True)
            service.stop()


if __name__ == "__main__":
    main()
