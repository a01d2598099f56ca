"""One run at a time in a folder, and a lock that dies with its owner."""

import signal
import sys
import time
from pathlib import Path

import pytest
from processes import environment, started

from hf_squareloss.recipes import folder_lock as folder_lock_module
from hf_squareloss.recipes.folder_lock import OWNER, folder_lock

HOLD = """
import sys, time
from hf_squareloss.recipes.folder_lock import folder_lock
with folder_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder, log = tmp_path / "out", tmp_path / "log"
    with started([sys.executable, "-c", HOLD, str(folder)], environment(tmp_path), log) as process:
        end = time.monotonic() + 60
        while b"held" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.01)
        with pytest.raises(ValueError, match=rf"another run is at work in .*out \(process {process.pid} on "):
            with folder_lock(folder):
                pass
        with folder_lock(tmp_path / "another"):
            pass
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    left_behind = (folder / OWNER).read_text()
    with folder_lock(folder):
        assert (folder / OWNER).read_text() != left_behind  # it says who holds it now


def test_it_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), folder_lock(tmp_path):
            raise KeyError
    with folder_lock(tmp_path), pytest.raises(ValueError, match="another run"), folder_lock(tmp_path):
        pass
    assert not (tmp_path / OWNER).exists()


def test_the_lock_is_the_system_s_on_windows_too() -> None:
    """A file that is there or not would outlive a killed owner."""
    from filelock import FileLock, SoftFileLock, WindowsFileLock

    assert folder_lock_module.FileLock is FileLock and not issubclass(FileLock, SoftFileLock)
    assert not issubclass(WindowsFileLock, SoftFileLock) and not hasattr(folder_lock_module, "sys")
