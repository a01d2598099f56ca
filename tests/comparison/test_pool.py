"""Worker processes: they make runs, die alone, end with their parent, and let a run save what it can."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_script import write_script

from hf_squareloss.comparison import LocalPool, Order, Outcome

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the tests send signals")


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    pool = LocalPool(2)
    yield pool
    pool.stop(0)


def order(folder: Path, key: str, code: str) -> Order:
    (script := folder / f"{key}.py").write_text(code)
    return Order(key, str(script), [], str(folder / key), str(folder / f"{key}.txt"))


def outcomes(pool: LocalPool, count: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        found |= {outcome.key: outcome for outcome in pool.wait(5)}
    return found


def wait_for(path: Path) -> str:
    end = time.monotonic() + 60
    while not (path.exists() and path.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    return path.read_text()


def is_gone(process: int) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return True
        except (OSError, IndexError):
            return True
        time.sleep(0.02)
    return False


def test_a_run_is_made_as_here_and_workers_stay(pool: LocalPool, tmp_path: Path) -> None:
    script, out = write_script(tmp_path), tmp_path / "out"
    arguments = ["--loss", "square", "--learning_rate", "1e-3", "--seed", "0", "--output_dir", str(out)]
    pool.submit(Order("first", str(script), arguments, str(out), str(tmp_path / "first.txt")))
    found = outcomes(pool, 1)["first"]
    assert found.code == 0 and found.epochs[0]["validation"]["accuracy"] == 0.85
    code = "import os, torch\nprint(os.getpid(), torch.get_num_threads())"
    for key in ("second", "third"):
        pool.submit(order(tmp_path, key, code))
        assert outcomes(pool, 1)[key].code == 0
    said = [(tmp_path / f"{key}.txt").read_text().split() for key in ("second", "third")]
    assert said[0] == said[1] and said[0][1] == "1" and int(said[0][0]) != os.getpid()


def test_a_worker_dies_alone(pool: LocalPool, tmp_path: Path) -> None:
    pool.submit(order(tmp_path, "dies", "import os\nprint('last words')\nos.kill(os.getpid(), 9)"))
    pool.submit(order(tmp_path, "lives", "print('well')"))
    found = outcomes(pool, 2)
    assert found["dies"].code is None and found["dies"].last_lines == "last words\nthe worker died (SIGKILL)"
    assert found["lives"].code == 0
    pool.submit(order(tmp_path, "next", "pass"))
    assert outcomes(pool, 1)["next"].code == 0


def test_a_worker_that_cannot_begin_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (broken := tmp_path / "python").write_text("#!/bin/sh\necho no such module >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    (pool := LocalPool(1)).submit(order(tmp_path, "run", "pass"))
    assert outcomes(pool, 1)["run"] == Outcome("run", None, "no such module\nthe worker died (exit code 3)")
    pool.stop(0)


def test_stopping_asks_before_it_kills(pool: LocalPool, tmp_path: Path) -> None:
    saves = "import signal, sys, time\ndef save(*_):\n    open('SAVED', 'w').close()\n    sys.exit(143)\n"
    saves = saves.replace("SAVED", str(tmp_path / "saved"))
    begun = "print('begun', flush=True)\ntime.sleep(100)\n"
    pool.submit(order(tmp_path, "saves", f"{saves}signal.signal(signal.SIGTERM, save)\n{begun}"))
    pool.submit(order(tmp_path, "stays", f"import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: 0)\n{begun}"))
    for key in ("saves", "stays"):
        wait_for(tmp_path / f"{key}.txt")
    start = time.monotonic()
    pool.stop(patience=1.0)
    assert (tmp_path / "saved").exists() and time.monotonic() - start < 30
    assert pool.wait(1) == []


def test_workers_and_what_they_started_end_with_their_parent(tmp_path: Path) -> None:
    code = "import os, subprocess\nchild = subprocess.Popen(['sleep', '100'])\n"
    code += f"open({str(tmp_path / 'ids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\nchild.wait()"
    busy = order(tmp_path, "busy", code)
    parent = (
        "import json, sys, time\nfrom hf_squareloss.comparison import LocalPool, Order\n"
        "pool = LocalPool(1)\npool.submit(Order(**json.loads(sys.argv[1])))\ntime.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, json.dumps(vars(busy))])
    ids = [int(word) for word in wait_for(tmp_path / "ids").split()]
    for each in ids:
        os.kill(each, 0)  # there
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(is_gone(each) for each in ids)
