import asyncio
import base64
import concurrent.futures
import http.client
import io
import json
import pathlib
import random
import re
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
from PIL import Image

import a2d_keras as a2d

pytest.importorskip("fastapi_offline", reason="fastapi-offline is not installed: examples/serving")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: examples/serving")
pytest.importorskip(
    "prometheus_client", reason="prometheus-client is not installed: examples/serving"
)
pytest.importorskip(
    "pythonjsonlogger", reason="python-json-logger is not installed: examples/serving"
)
pytest.importorskip("httpx2", reason="httpx2 is not installed: examples/serving")

import uvicorn
from fastapi.testclient import TestClient

from examples.serving import messages
from examples.serving.batching import Batcher
from examples.serving.exported import Exported
from examples.serving.load_test import Running, measure
from examples.serving.service import Limits, create_app

SERVING = pathlib.Path(__file__).parent.parent / "examples" / "serving"
MAX_BYTES = 100_000
CLIENTS = 8

pytestmark = pytest.mark.checkout


def post(service, body, path="/detect"):
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", body)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def guarded(guard_digits, tmp_path_factory):
    """A saved guard, exported as the README does, in the folder that the README names."""
    (code,) = re.findall(r"```python\n(.*?)```", (SERVING / "README.md").read_text(), re.DOTALL)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("serving"))
        guard_digits().save("guarded.keras")
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
    started = [Running(at, "--max-bytes", str(MAX_BYTES)) for at in (guarded[1], folder)]
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
    (b"{}", 400, "must be JSON"),
    (b'{"rows": []}', 400, "KeyError('rows')"),
    (b'{"inputs": [], "instances": []}', 400, "must be JSON"),
    (b"[" * 50_000, 400, "recursion limit"),
    (b'{"inputs": [[1.0], [1.0, 2.0]]}', 400, "inhomogeneous"),
    (b'{"inputs": ' + b"[" * 80 + b"]" * 80 + b"}", 400, "arrays of one shape"),
    (b'{"inputs": [{}]}', 422, "KeyError('b64')"),
    (b'{"instances": [{"b64": "??"}]}', 422, 'must be {"b64"'),
    (b'{"instances": [{"b64": "aaaa"}, [[[0]]]]}', 422, "cannot identify image file"),
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
    (to_body(np.zeros((65, 8, 8, 1))), 413, "at most 64 inputs"),
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
        return [(index, post(service, asked[index][0])) for index in order]

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
    p_values = [post(service, to_body(x))[1]["outputs"]["p_value"] for x in (benign, adversarial)]
    assert np.median(p_values[1]) < 0.2 < 0.3 < np.median(p_values[0])


def test_any_guard_is_served(benign, guard_digits, tmp_path):
    """The service returns the outputs of the exported model, whatever they are."""
    guarded = guard_digits(rule="zscore")
    guarded.export(tmp_path)
    with TestClient(create_app(Exported(tmp_path))) as client:
        answer = client.post("/detect", content=to_body(benign[:3])).json()
    assert set(answer["outputs"]) == {"predictions", "is_adversarial", "score", "cost", "exact"}
    assert_right(answer, guarded.predict(benign[:3], verbose=0))


def test_inputs_that_are_flagged_have_no_score(services):
    status, answer = post(services[1], to_body(np.full((1, 8, 8, 1), 255.0)))
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


@pytest.fixture(scope="module")
def model_served(guarded):
    return Exported(guarded[1])


@pytest.fixture(scope="module")
def client(model_served):
    with TestClient(create_app(model_served)) as client:
        while client.get("/ready").status_code == 503:
            assert client.get("/health").status_code == 200
            time.sleep(0.01)
        yield client


def to_image(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return {"b64": base64.b64encode(file.getvalue()).decode()}


def test_rows_in_the_form_of_tensorflow_serving(client, guarded, benign):
    body = json.dumps({"instances": benign[:3].tolist()})
    answer = client.post("/v1/models/digits:predict", content=body)
    assert answer.status_code == 200
    rows = answer.json()["predictions"]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert_right({"outputs": columns}, guarded[0].predict(benign[:3], verbose=0))
    assert client.post("/v1/models/cats:predict", content=body).status_code == 404


def test_images_are_scaled_to_the_bounds(client, guarded, benign):
    pixels = np.round(255 * benign[:2, ..., 0]).astype("uint8")
    answer = client.post("/detect", json={"inputs": [to_image(each) for each in pixels]}).json()
    expected = guarded[0].predict(pixels[..., None] / 255, verbose=0)
    assert_right(answer, expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
def test_images_of_many_modes(model_served, mode):
    pixels = np.full((8, 8), 51, "uint8")
    image = np.asarray(Image.fromarray(pixels).convert(mode if mode != "P" else "L"))
    body = json.dumps({"instances": [to_image(image)]})
    asked = messages.read(body.encode(), model_served, 64)
    np.testing.assert_allclose(asked.inputs, np.full((1, 8, 8, 1), 0.2), atol=1e-6)


@pytest.mark.parametrize(
    "pixels", [np.zeros((9, 8), "uint8"), np.zeros((8, 8), "uint16"), np.zeros((8, 8), "float32")]
)
def test_images_that_the_model_cannot_take_are_refused(client, pixels):
    form = "TIFF" if pixels.dtype.kind == "f" else "PNG"
    answer = client.post("/detect", json={"inputs": [to_image(pixels, form)]})
    assert answer.status_code == 422
    sentence = "must be" if form == "TIFF" else "must have the size (8, 8), and 8 bits a channel."
    assert sentence in answer.json()["detail"]


def test_an_image_that_would_fill_the_memory_is_refused(client):
    file = base64.b64decode(to_image(np.zeros((8, 8), "uint8"))["b64"])
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + file[24:29]
    bomb = file[:12] + header + struct.pack(">I", zlib.crc32(header)) + file[33:]
    body = {"inputs": [{"b64": base64.b64encode(bomb).decode()}]}
    answer = client.post("/detect", json=body)
    assert answer.status_code == 422
    assert "DecompressionBomb" in answer.json()["detail"]


def test_one_photograph_is_no_large_body():
    """As JSON, in the digits that Python gives float64."""
    pixels = np.random.default_rng(0).uniform(size=(1, 224, 224, 3))
    assert len(to_body(pixels)) < Limits().max_bytes


def test_openapi_describes_the_bodies(client, benign, adversarial):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    path = client.get("/openapi.json").json()["paths"]["/v1/models/digits:predict"]["post"]
    asked = path["requestBody"]["content"]["application/json"]["schema"]
    answered = path["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(path["responses"]) == {"200", "400", "413", "422", "503"}
    for form in ("inputs", "instances"):
        body = {form: [benign[0].tolist()]}
        jsonschema.validate(body, asked)
        jsonschema.validate(client.post("/detect", json=body).json(), answered)
    jsonschema.validate({"inputs": [to_image(np.zeros((8, 8), "uint8"))]}, asked)
    for wrong in ({}, {"inputs": [[1.0]]}, {"inputs": [{}]}, {"rows": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, asked)


def test_the_docs_load_nothing_from_elsewhere(client):
    page = client.get("/docs").text
    links = re.findall(r'(?:src|href|url)\s*[=:]\s*["\']([^"\']+)', page)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/")
        assert client.get(link).status_code == 200


def metrics(client):
    lines = client.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line[0] != "#")
    return {name: float(value) for name, value in pairs}


def test_metrics(client, guarded, benign, adversarial):
    before = metrics(client)
    x = np.concatenate([benign[:5], adversarial[:5]])
    outputs = client.post("/detect", content=to_body(x)).json()["outputs"]
    client.post("/detect", content=b"{")
    after = metrics(client)

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown("a2d_inputs_total") == grown("a2d_batch_inputs_sum") == 10
    assert grown("a2d_flagged_total") == sum(outputs["is_adversarial"]) > 0
    assert grown("a2d_p_value_count") == 10
    assert grown("a2d_p_value_sum") == pytest.approx(sum(outputs["p_value"]), rel=1e-4)
    assert grown('a2d_requests_total{path="/detect",status="200"}') == 1
    assert grown('a2d_requests_total{path="/detect",status="400"}') == 1
    assert grown('a2d_request_seconds_count{path="/detect"}') == 2
    assert after["a2d_waiting_requests"] == 0
    client.get("/anything")
    assert metrics(client)['a2d_requests_total{path="other",status="404"}'] >= 1


def test_every_request_is_a_line_of_json(services, benign):
    name = "asked-by-a-test"
    url = f"http://127.0.0.1:{services[1].port}/detect"
    request = urllib.request.Request(url, to_body(benign[:2]), {"X-Request-ID": name})
    with urllib.request.urlopen(request) as response:
        assert response.headers["x-request-id"] == name
    while not any(name in line for line in services[1].log):
        time.sleep(0.01)
    (line,) = [json.loads(line) for line in services[1].log if name in line]
    assert line["levelname"] == "INFO"
    assert (line["path"], line["status"], line["inputs"]) == ("/detect", 200, 2)
    assert line["flagged"] in (0, 1, 2)
    assert line["seconds"] > 0
    assert not any(r"\u001b" in line for line in services[1].log)  # no codes for a terminal


def test_too_many_requests_are_sent_away(model_served, benign):
    with TestClient(create_app(model_served, Limits(max_waiting=0))) as client:
        answer = client.post("/detect", content=to_body(benign[:1]))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "At most 0 requests may wait" in answer.json()["detail"]


def test_a_service_that_cannot_work_says_so(model_served):
    class Broken:
        name, input, outputs = model_served.name, model_served.input, model_served.outputs

        def warm_up(self, *counts):
            raise MemoryError

    with TestClient(create_app(Broken())) as client:
        while client.get("/health").status_code == 200:
            time.sleep(0.01)
        assert client.get("/ready").status_code == 503
        assert client.post("/detect", content=b"{}").status_code == 503


def test_requests_that_wait_become_one_batch():
    batches, seen = [], []

    def run(x):
        seen.append(len(x))
        if (x < 0).any():
            raise ValueError(f"{x.min()} is negative")
        return {"twice": 2 * x}

    async def ask(*arrays):
        batcher = Batcher(run, 4, batches.append)
        asked = [asyncio.create_task(batcher(np.asarray(each))) for each in arrays]
        await asyncio.sleep(0)
        worker = asyncio.create_task(batcher.work())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        worker.cancel()
        return answers

    answers = asyncio.run(ask([1], [2, 3], [4], [5], [6]))
    assert batches == [4, 2]
    assert [answer["twice"].tolist() for answer in answers] == [[2], [4, 6], [8], [10], [12]]
    seen.clear()
    one, wrong, other = asyncio.run(ask([1], [-2], [[3.0]]))  # a shape of its own, too
    assert (one["twice"], other["twice"]) == ([2], [[6]])
    assert str(wrong) == "-2 is negative"


def test_a_request_that_waits_for_a_service_that_fails_is_answered(model_served, benign):
    asked = threading.Event()

    class Broken:
        name, input, outputs = model_served.name, model_served.input, model_served.outputs

        def warm_up(self, *counts):
            asked.wait(10)
            time.sleep(0.2)
            raise MemoryError

    pool = concurrent.futures.ThreadPoolExecutor()
    with TestClient(create_app(Broken())) as client, pool:
        answer = pool.submit(client.post, "/detect", content=to_body(benign[:1]))
        asked.set()
        assert answer.result(10).status_code == 503


def test_requests_in_progress_are_answered_before_the_service_stops(model_served, benign):
    config = uvicorn.Config(create_app(model_served), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = to_body(benign[:1])
    connection.putrequest("POST", "/detect")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    while metrics_waiting(port) == 0:
        time.sleep(0.01)
    server.should_exit = True  # as SIGTERM does
    time.sleep(0.2)
    connection.send(body[100:])
    assert connection.getresponse().status == 200
    thread.join()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def metrics_waiting(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        return float(
            re.search(r"^a2d_waiting_requests (.*)", response.read().decode(), re.MULTILINE)[1]
        )


def test_the_load_test_counts_what_is_lost(service, benign, guarded):
    predictions = guarded[0].predict(benign[:2], verbose=0)["predictions"]
    bodies = [json.dumps({"inputs": benign[i : i + 1].tolist()}) for i in range(2)]
    right = list(zip(bodies, predictions, strict=True))
    waited, lost = measure(service.port, 2, 0.2, right)
    assert len(waited) > 0
    assert lost == 0
    waited, lost = measure(service.port, 1, 0.1, [(bodies[0], predictions[1])])
    assert (len(waited), lost > 0) == (0, True)
