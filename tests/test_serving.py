import concurrent.futures
import http.client
import json
import pathlib
import random
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

import a2d_keras as a2d

pytest.importorskip("fastapi", reason="FastAPI is not installed: examples/serving")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: examples/serving")

from examples.serving.service import create_app

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "examples" / "serving" / "README.md"
MAX_BYTES = 100_000
CLIENTS = 8

pytestmark = pytest.mark.checkout


class Service:
    """The service in a process of its own, on a free port."""

    def __init__(self, model):
        command = [sys.executable, "-m", "examples.serving.service", str(model), "--port", "0"]
        command += ["--max-bytes", str(MAX_BYTES)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.log = []

    def wait(self):
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise RuntimeError("".join(self.log))
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
        self.reader.start()

    def post(self, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/detect", body)
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self):
        self.process.terminate()
        self.reader.join()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The model from the README, in the folder that the README names."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("serving"))
        exec(code, names)
        folder = pathlib.Path("results/serving/digits/1").absolute()
    return names["guarded"], folder


@pytest.fixture(scope="module")
def services(guarded, model, tmp_path_factory):
    """The README's service, and one whose model flags invalid inputs."""
    flags = a2d.guard(model, on_invalid="flag")
    flags.set_weights(guarded[0].get_weights())
    folder = tmp_path_factory.mktemp("flags")
    flags.export(folder)
    started = [Service(guarded[1]), Service(folder)]
    for service in started:
        service.wait()
    yield started
    for service in started:
        service.stop()


@pytest.fixture(scope="module")
def service(services):
    return services[0]


def to_body(inputs):
    return json.dumps({"inputs": np.asarray(inputs).tolist()}).encode()


REFUSED = [
    (b"", 400, "must be JSON"),
    (b"{", 400, "must be JSON"),
    (b"\xff\xfe\x00", 400, "must be JSON"),
    (b"[]", 400, "must be JSON"),
    (b"{}", 400, "KeyError('inputs')"),
    (b"[" * 50_000, 400, "RecursionError"),
    (b'{"inputs": [[1.0], [1.0, 2.0]]}', 400, "inhomogeneous"),
    (b'{"inputs": ' + b"[" * 80 + b"]" * 80 + b"}", 400, "must be JSON"),
    (b'{"inputs": null}', 422, "Received: object"),
    (b'{"inputs": "digit"}', 422, "Received: <U5"),
    (b'{"inputs": []}', 422, "Received: float64, (0,)"),
    (b'{"inputs": [1' + b"0" * 400 + b"]}", 422, "Received: object"),
    (to_body(np.full((1, 8, 8, 1), "0.5")), 422, "Received: <U3"),
    (to_body(np.zeros((8, 8, 1))), 422, "shape (None, 8, 8, 1). Received: float64, (8, 8, 1)"),
    (to_body(np.zeros((2, 8, 8, 3))), 422, "Received: float64, (2, 8, 8, 3)"),
    (to_body(np.full((1, 8, 8, 1), np.nan)), 422, "Received: 64 values that are not finite"),
    (to_body(np.full((1, 8, 8, 1), 1e39)), 422, "Received: 64 values that are not finite"),
    (to_body(np.full((1, 8, 8, 1), 255)), 422, "64 outside the bounds, in 1 of 1"),
    (to_body(np.zeros((900, 8, 8, 1))), 413, f"at most {MAX_BYTES} bytes"),
    (b" " * 1_500_000, 413, "1500000 bytes or more"),
]


@pytest.fixture(scope="module")
def accepted(guarded, benign, adversarial):
    """Inputs of 1 to 20 digits, benign, adversarial and both, with the model's own answers."""
    mixed = np.concatenate([benign[:10], adversarial[:10]])
    batches = [benign[:1], benign[1:6], adversarial[:1], adversarial[1:6], mixed]
    return [(x, guarded[0].predict(x, verbose=0)) for x in batches]


def assert_right(answer, expected):
    outputs = answer["outputs"]
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(outputs[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(outputs[name], values, err_msg=name)


def test_eight_clients_at_once_get_every_answer_right(service, accepted):
    asked = [(to_body(x), expected) for x, expected in accepted]
    asked += [(body, (status, words)) for body, status, words in REFUSED]
    together = threading.Barrier(CLIENTS)

    def run(client):
        order = random.Random(client).sample(range(len(asked)), len(asked))
        together.wait()
        return [(index, service.post(asked[index][0])) for index in order]

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for answers in pool.map(run, range(CLIENTS)) for answer in answers]
    assert len(answers) == CLIENTS * len(asked)
    for index, (status, answer) in answers:
        expected = asked[index][1]
        if isinstance(expected, dict):
            assert status == 200, answer
            assert_right(answer, expected)
        else:
            assert status == expected[0], answer
            assert expected[1] in answer["detail"]


def test_adversarial_digits_have_small_p_values(service, benign, adversarial):
    p_values = [service.post(to_body(x))[1]["outputs"]["p_value"] for x in (benign, adversarial)]
    assert np.median(p_values[1]) < 0.2 < 0.3 < np.median(p_values[0])


def test_any_guard_is_served(benign, guard_digits, tmp_path):
    """The service returns the outputs of the exported model, whatever they are."""
    guarded = guard_digits(rule="zscore")
    guarded.export(tmp_path)
    detect = next(r.endpoint for r in create_app(str(tmp_path)).routes if r.path == "/detect")
    answer = detect(to_body(benign[:3]))
    assert set(answer["outputs"]) == {"predictions", "is_adversarial", "score", "cost", "exact"}
    assert_right(answer, guarded.predict(benign[:3], verbose=0))


def test_inputs_that_are_flagged_have_no_score(services):
    status, answer = services[1].post(to_body(np.full((1, 8, 8, 1), 255.0)))
    assert status == 200
    assert answer["outputs"]["is_adversarial"] == [True]
    assert answer["outputs"]["score"] == [None]
    assert answer["outputs"]["p_value"] == [0]
    assert set(answer["outputs"]["statistics"][0]) == {None}


def test_large_bodies_of_unsaid_length_are_refused(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    chunks = (b" " * 10_000 for _ in range(20))
    connection.request("POST", "/detect", chunks, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert "200000 bytes or more" in json.load(response)["detail"]
    connection.close()


def test_clients_that_hang_up_do_no_harm(service):
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/health") as response:
        assert json.load(response) == {"status": "ok"}
    assert not any("Traceback" in line for line in service.log)
