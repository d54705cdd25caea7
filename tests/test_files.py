import os

import pytest

from a2d_keras.files import replace_atomically


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "verdicts.csv"
    path.write_text("old")
    return path


def test_replaces_when_all_is_written(old):
    with replace_atomically(old) as temporary:
        assert (temporary.parent, temporary.suffix) == (old.parent, ".csv")
        temporary.write_text("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new"
    assert os.listdir(old.parent) == ["verdicts.csv"]


def write_half(path, failure):
    with replace_atomically(path) as temporary:
        temporary.write_text("ne")
        raise failure


def write_to_a_full_disk(path):
    with replace_atomically(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("new")


@pytest.mark.parametrize("failure", [ValueError("a bad input"), KeyboardInterrupt()])
def test_keeps_the_old_file_where_writing_fails(old, failure):
    with pytest.raises(type(failure)):
        write_half(old, failure)
    assert old.read_text() == "old"
    assert os.listdir(old.parent) == ["verdicts.csv"]


def test_refuses_a_folder_before_the_work(tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "verdicts.csv"):
        with (
            pytest.raises(ValueError, match="folder that can be written to. Received: "),
            replace_atomically(path),
        ):
            pytest.fail("the work began")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_a_full_disk_keeps_the_old_file(old):
    with pytest.raises(OSError, match="No space left"):
        write_to_a_full_disk(old)
    assert old.read_text() == "old"
    assert os.listdir(old.parent) == ["verdicts.csv"]
