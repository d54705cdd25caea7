import concurrent.futures
import contextlib
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from models import zoo

beam = pytest.importorskip("apache_beam", reason="Apache Beam is not installed: a2d-keras[beam]")

from apache_beam.ml.inference.base import PredictionResult, RunInference  # noqa: E402

from a2d_keras.beam import GuardedModelHandler  # noqa: E402
from examples.batch import digits as example  # noqa: E402
from examples.batch import score  # noqa: E402

ROOT = pathlib.Path(__file__).parent.parent
pytestmark = pytest.mark.checkout

TWO_WORKERS = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("batch")


@pytest.fixture(scope="module")
def broken(folder):
    """Make the model and 4 shards in the folder; return the places of the broken records."""
    return set(example.make(folder, records=400, shards=4, broken=10))


@pytest.fixture(scope="module")
def shards(folder, broken):
    return sorted(str(path) for path in folder.glob("*.tfrecord"))


@pytest.fixture(scope="module")
def path(folder, broken):
    return str(folder / "guarded.keras")


@pytest.fixture(scope="module")
def scored(folder, shards, path):
    """The counts of two worker processes."""
    return run_to_the_end(two_workers(folder, path, folder / "scored"))


def two_workers(folder, path, out):
    """The command that scores the shards of the folder in two worker processes."""
    command = [sys.executable, "-m", "examples.batch.score", f"{folder}/*.tfrecord"]
    options = ["--model", path, "--out", str(out), "--shape", "8", "8", "1"]
    return [*command, *options, *TWO_WORKERS]


def run_to_the_end(command):
    run = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout)


def working(process):
    """Wait for a worker in the session of a process to load TensorFlow; return its number."""
    while process.poll() is None:
        for found in pathlib.Path("/proc").glob("[0-9]*"):
            number = int(found.name)
            with contextlib.suppress(OSError):  # it may end at any moment
                ours = number != process.pid and os.getsid(number) == process.pid
                if ours and "libtensorflow" in (found / "maps").read_text():
                    return number
        time.sleep(0.1)
    raise AssertionError("it ended before a worker could die")


def verdicts(out, shard):
    with open(out / f"{pathlib.Path(shard).name}.csv") as file:
        return list(csv.DictReader(file))


def dead_letters(out, shard):
    text = (out / f"{pathlib.Path(shard).name}.dead.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_counts_in_are_counts_out(folder, scored, shards):
    rows = [row for shard in shards for row in verdicts(folder / "scored", shard)]
    flagged = sum(row["is_adversarial"] == "True" for row in rows)
    assert scored == {"read": 400, "scored": 390, "flagged": flagged, "dead": 10}
    assert len(rows) == 390
    assert 5 < flagged < 100


@pytest.mark.slow
def test_dead_letters_say_which_and_why(folder, scored, shards, broken):
    letters = {
        (pathlib.Path(shard).name, letter["record"]): letter["error"]
        for shard in shards
        for letter in dead_letters(folder / "scored", shard)
    }
    assert set(letters) == broken
    for words in (
        "DecodeError",
        "`image` must hold 64 floats. Received: 0",
        "`image` must hold 64 floats. Received: 56",
        "64 values that are not finite",
        "to 255",
    ):
        assert sum(words in reason for reason in letters.values()) == 2, words


@pytest.mark.slow
def test_verdicts_are_the_models_own(folder, scored, shards, path):
    model = keras.models.load_model(path)
    for shard in shards[:2]:
        records = list(tf.data.TFRecordDataset(shard).as_numpy_iterator())
        rows = verdicts(folder / "scored", shard)
        x = np.stack([score.parse(records[int(row["record"])], (8, 8, 1)) for row in rows])
        out = model.predict(x, verbose=0)
        assert [int(row["prediction"]) for row in rows] == out["predictions"].argmax(-1).tolist()
        assert [row["is_adversarial"] == "True" for row in rows] == out["is_adversarial"].tolist()
        assert list(rows[0])[2:] == [name for name in out if name != "predictions"]
        assert [float(row["p_value"]) for row in rows] == pytest.approx(out["p_value"], abs=0.02)
        found = np.array([row["statistics"].split() for row in rows], "float32")
        np.testing.assert_allclose(found, out["statistics"], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_shard_retried_gives_the_same(folder, scored, shards, path):
    out = folder / "retried"
    assert score.run(shards[1:2], path, str(out), (8, 8, 1))["read"] == 100
    first = score.run(shards[1:2], path, str(out), (8, 8, 1))  # replaces the files
    assert first["read"] == 100
    names = {file.name for file in out.iterdir()}
    assert names == {f"{pathlib.Path(shards[1]).name}{end}" for end in (".csv", ".dead.jsonl")}
    for name in names:
        assert (out / name).read_bytes() == (folder / "scored" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="finds workers as Linux lists them")
def test_a_dead_worker_in_the_middle_loses_nothing(folder, scored, path, tmp_path):
    """The run fails, whatever it wrote is complete, and the same command does the rest."""
    command, whole = two_workers(folder, path, tmp_path), folder / "scored"
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **silent)
    try:
        os.kill(working(process), signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # Beam may wait for it for ever
            assert process.wait(timeout=60) != 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for verdicts in tmp_path.glob("*.csv"):
        assert verdicts.read_bytes() == (whole / verdicts.name).read_bytes()
    assert run_to_the_end(command) == scored
    names = {file.name for file in whole.iterdir()}
    assert names == {file.name for file in tmp_path.iterdir() if file.suffix in (".csv", ".jsonl")}
    for name in names:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_a_damaged_shard_loses_only_what_lies_beyond(tmp_path, shards, path):
    damaged = tmp_path / "damaged.tfrecord"
    whole = pathlib.Path(shards[0]).read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    counts = score.run([str(damaged)], path, str(tmp_path / "out"), (8, 8, 1))
    letters = dead_letters(tmp_path / "out", damaged)
    assert counts["read"] == counts["scored"] + counts["dead"] > 40
    assert letters[-1]["record"] == counts["read"] - 1
    assert "The shard is damaged from here to its end. Received: " in letters[-1]["error"]


def test_a_lost_record_is_an_error(tmp_path):
    groups = {"outcomes": [(0, {"error": "broken"}), (2, {"error": "broken"})], "read": [3]}
    with pytest.raises(RuntimeError, match="2 outcomes of 3 records. Received: shard"):
        score.WriteShard(str(tmp_path)).process(("shard", groups))
    assert not list(tmp_path.iterdir())


def test_rows_have_the_outputs_of_any_guard():
    for more in ({"p_value": 0.5, "statistics": [0.25, 2.0]}, {"cost": [3, 4], "exact": True}):
        verdict = {"is_adversarial": np.bool_(True), "score": np.float32(0.1)}
        inference = {"predictions": np.array([0.2, 0.8]), **verdict, **more}
        result = PredictionResult(None, inference)
        _, (index, outcome) = score.to_outcome(("shard", 7), result)
        header, row = score._to_csv([{"record": index, **outcome}]).splitlines()
        assert header == ",".join(["record", "prediction", "is_adversarial", "score", *more])
        assert row.startswith("7,1,True,0.1,")
        assert row.endswith(("0.5,0.25 2.0", "3 4,True"))
    assert score._to_csv([]) == "record\n"


@pytest.mark.parametrize("shards", [[], ["a/x.tfrecord", "b/x.tfrecord"]])
def test_shards_have_names_that_differ(shards, tmp_path):
    with pytest.raises(ValueError, match="must be paths with different file names. Received"):
        score.run(shards, "guarded.keras", str(tmp_path), (8, 8, 1))


@keras.saving.register_keras_serializable(package="tests")
class Divide(keras.layers.Layer):
    """It gives NaN where the first value is 0."""

    def call(self, x):
        return x / x[:, :1] - 0.5


class TestHandler:
    @pytest.mark.parametrize("options", [{}, {"large_model": True}], ids=["own", "shared"])
    def test_one_bad_input_costs_the_others_nothing(self, options, path, benign):
        bad = [benign[0] * 255, benign[0, :4], "digit", None]
        results = [*benign[:3], *bad] | RunInference(GuardedModelHandler(path, **options))
        expected = keras.models.load_model(path).predict(benign[:3], verbose=0)
        for index, result in enumerate(results[:3]):
            np.testing.assert_array_equal(result.example, benign[index])
            for name, values in expected.items():
                np.testing.assert_allclose(result.inference[name], values[index], rtol=1e-5)
        reasons = [result.inference["error"] for result in results[3:]]
        for reason, words in zip(reasons, ("within", "shape", "real", "real"), strict=True):
            assert words in reason
            assert "Received: " in reason

    def test_one_that_the_classifier_breaks_on_costs_the_others_nothing(self, benign, tmp_path):
        layers = [keras.Input((4,)), Divide(), keras.layers.Dense(3, "softmax")]
        guarded = a2d.guard(keras.Sequential(layers), attacks=[a2d.BIM(max_iterations=20)])
        x = np.random.default_rng(0).uniform(0.1, 1, size=(30, 4)).astype("float32")
        guarded.adapt(x, verbose=0)
        guarded.save(tmp_path / "guarded.keras")
        handler = GuardedModelHandler(str(tmp_path / "guarded.keras"))
        judge = handler.load_model()
        broken = x[:5].copy()
        broken[2, 0] = 0
        results = [result.inference for result in handler.run_inference(list(broken), judge)]
        assert "gives no finite prediction" in results[2].pop("error")
        kept = [0, 1, 3, 4]
        expected = guarded.predict(x[kept], verbose=0)["cost"]
        np.testing.assert_array_equal([results[i]["cost"] for i in kept], expected)

    def test_all_bad(self, path):
        (result,) = [np.full((8, 8, 1), np.nan)] | RunInference(GuardedModelHandler(path))
        assert set(result.inference) == {"error"}

    def test_threads_share_one_model(self, path, benign):
        handler = GuardedModelHandler(path)
        judge = handler.load_model()
        expected = keras.models.load_model(path).predict(benign, verbose=0)["statistics"]

        def statistics(count):
            results = handler.run_inference(list(benign[:count]), judge)
            return [result.inference["statistics"] for result in results]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for count, found in zip(range(8, 24), pool.map(statistics, range(8, 24)), strict=True):
                np.testing.assert_allclose(found, expected[:count], rtol=1e-3, atol=1e-5)

    def test_takes_a_newer_model(self, path):
        handler = GuardedModelHandler("nowhere.keras")
        handler.update_model_path(path)
        handler.update_model_path("")
        assert handler.load_model()

    def test_refuses_a_model_that_is_not_guarded(self, tmp_path):
        zoo.build("digits").save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match="must hold a guarded model.*Received: Sequential in"):
            GuardedModelHandler(str(tmp_path / "model.keras")).load_model()

    def test_refuses_a_model_that_is_not_adapted(self, tmp_path):
        a2d.guard(zoo.build("digits")).save(tmp_path / "guarded.keras")
        with pytest.raises(ValueError, match="call `adapt` with benign inputs first"):
            GuardedModelHandler(str(tmp_path / "guarded.keras")).load_model()

    def test_refuses_arguments(self, path):
        with pytest.raises(ValueError, match="takes no `inference_args`. Received: {'batch': 1}"):
            [] | RunInference(GuardedModelHandler(path), inference_args={"batch": 1})
