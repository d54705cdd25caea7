import subprocess
import sys

import numpy as np
import pytest

TWO_DEVICES = """
import sys
import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import a2d_keras

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    guarded = keras.models.load_model(sys.argv[1])
x = np.load(sys.argv[2])
np.savez(sys.argv[3], **guarded.predict(x, batch_size=int(sys.argv[4]), verbose=0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fisher", "zscore"])
@pytest.mark.parametrize("batch_size", [40, 1024], ids=["many", "one"])
def test_two_devices_give_the_same_verdicts(
    batch_size, rule, guard_digits, benign, adversarial, tmp_path
):
    guarded = guard_digits(rule=rule)
    guarded.save(tmp_path / "guarded.keras")
    x = np.concatenate([benign, adversarial])[:75]  # so that the last batch is split unevenly
    np.save(tmp_path / "x.npy", x)
    names = [tmp_path / name for name in ("guarded.keras", "x.npy", "out.npz")]
    subprocess.run([sys.executable, "-c", TWO_DEVICES, *names, str(batch_size)], check=True)
    expected = guarded.predict(x, verbose=0)
    if rule == "zscore":
        assert 30 < expected["is_adversarial"].sum() < 45
    with np.load(tmp_path / "out.npz") as out:
        assert set(out) == set(expected)
        for name, values in expected.items():
            if values.dtype == np.float32:
                np.testing.assert_allclose(out[name], values, rtol=1e-4, atol=1e-6)
            else:
                np.testing.assert_array_equal(out[name], values)
