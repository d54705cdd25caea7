import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from baselines.comparison.checkpoints import Checkpoints

pytestmark = pytest.mark.checkout

ORIGIN = {"attack": "BIM()", "inputs": "1234"}


def arrays(value=1.0):
    return {"x": np.full((100, 50), value, "float32"), "n": np.arange(7)}


def refuse():
    raise AssertionError("It was kept, and must not be computed again.")


def test_a_finished_result_is_kept(tmp_path, capsys):
    made = Checkpoints(tmp_path).get("a", ORIGIN, arrays)
    later = Checkpoints(tmp_path)
    kept = later.get("a", dict(reversed(ORIGIN.items())), refuse)
    assert set(kept) == set(made)
    for key, values in made.items():
        np.testing.assert_array_equal(kept[key], values)
        assert kept[key].dtype == values.dtype
    assert later.seconds["a"] >= 0
    assert "a: kept" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_says_how_much_is_done_once_it_knows_how_much_there_is(tmp_path, capsys):
    Checkpoints(tmp_path).get("a", ORIGIN, arrays)
    later = Checkpoints(tmp_path)
    later.expect(3)
    capsys.readouterr()
    for name in "abc":
        later.get(name, ORIGIN, arrays)
    assert capsys.readouterr().out.splitlines() == [
        "a: kept (piece 1 of 3)",
        "b: computing (piece 2 of 3)",
        "b: computed in 0 s, about 0 s left",
        "c: computing (piece 3 of 3)",
        "c: computed in 0 s",
    ]


@pytest.mark.parametrize("changed", [{"attack": "BIM2()"}, {"inputs": "4321"}, {"more": 1}])
def test_a_checkpoint_of_another_origin_is_computed_again(tmp_path, capsys, changed):
    Checkpoints(tmp_path).get("a", ORIGIN, arrays)
    again = Checkpoints(tmp_path).get("a", ORIGIN | changed, lambda: arrays(2.0))
    assert again["x"].max() == 2
    assert "has another origin" in capsys.readouterr().out


def test_any_damage_is_found(tmp_path, capsys):
    Checkpoints(tmp_path).get("a", ORIGIN, arrays)
    path = tmp_path / "a.h5"
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    for position in generator.integers(len(whole), size=40):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        found = Checkpoints(tmp_path).get("a", ORIGIN, arrays)
        np.testing.assert_array_equal(found["x"], arrays()["x"])
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        found = Checkpoints(tmp_path).get("a", ORIGIN, arrays)
        np.testing.assert_array_equal(found["x"], arrays()["x"])
    assert "is damaged; computing it again" in capsys.readouterr().out


def test_other_values_under_the_same_checksum_are_found(tmp_path):
    Checkpoints(tmp_path).get("a", ORIGIN, arrays)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["x"][3, 3] = 5
    assert Checkpoints(tmp_path).get("a", ORIGIN, arrays)["x"].max() == 1


def test_a_failure_leaves_the_old_checkpoint(tmp_path):
    Checkpoints(tmp_path).get("a", ORIGIN, arrays)
    with pytest.raises(AssertionError):
        Checkpoints(tmp_path).get("a", {}, refuse)
    Checkpoints(tmp_path).get("a", ORIGIN, refuse)


WORK = """
import pathlib, sys
import numpy as np
from baselines.comparison.checkpoints import Checkpoints
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    checkpoints.get(str(number), {"number": number}, lambda: {"x": np.full(100_000, number)})
"""


@pytest.mark.slow
def test_survives_being_killed_at_any_moment(tmp_path):
    generator, count = np.random.default_rng(0), 150
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    for _ in range(8):
        process = subprocess.Popen([*command, "100000"], stdout=subprocess.PIPE)
        process.stdout.readline()  # the work has begun
        time.sleep(generator.uniform(0, 0.2))  # kill it at a random moment
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert list(tmp_path.glob("*.h5"))
    finished = subprocess.run([*command, str(count)], capture_output=True, text=True, check=True)
    assert "damaged" not in finished.stdout
    assert "0: kept" in finished.stdout
    for number in range(count):
        kept = Checkpoints(tmp_path).get(str(number), {"number": number}, refuse)
        np.testing.assert_array_equal(kept["x"], np.full(100_000, number))
