"""A real Ray cluster of two nodes on loopback: runs are made on both, a worker that dies is one run, stopping stops."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_script import write_script

from hf_squareloss.comparison import Options, Order, Outcome, RayPool, carry_out, make_study

cluster_utils: Any = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: make test-ray")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves files open
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore:Tip.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes with one processor each."""
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    # The nodes have this machine's address: Ray's clients (2.60) look there for one that says 127.0.0.1.
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    yield str(cluster.address)
    cluster.shutdown()


@pytest.fixture
def pool(cluster: str) -> Iterator[RayPool]:
    pool = RayPool(cluster)
    yield pool
    pool.stop(0)


def order(folder: Path, key: str, code: str) -> Order:
    (script := folder / f"{key}.py").write_text(code)
    return Order(key, str(script), [], str(folder / key), str(folder / f"{key}.txt"))


def outcomes(pool: RayPool, count: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        found |= {outcome.key: outcome for outcome in pool.wait(5)}
    return found


def test_runs_are_made_on_both_nodes_and_a_worker_dies_alone(pool: RayPool, tmp_path: Path) -> None:
    assert pool.size == 2
    pool.submit(order(tmp_path, "dies", "import os\nprint('last words', flush=True)\nos.kill(os.getpid(), 9)"))
    there = "import ray, time\nprint(ray.get_runtime_context().get_node_id())\ntime.sleep(0.5)"
    pool.submit(order(tmp_path, "lives", there))
    found = outcomes(pool, 2)
    assert found["dies"].code is None and "last words\nthe worker died (WorkerCrashedError)" in found["dies"].last_lines
    assert found["lives"].code == 0
    for key in ("a", "b"):
        pool.submit(order(tmp_path, key, there))
    found = outcomes(pool, 2)
    assert len({found[key].last_lines for key in "ab"}) == 2  # two at once, each on a node of its own


def test_a_study_on_the_cluster(cluster: str, tmp_path: Path) -> None:
    script = write_script(tmp_path)
    once = f"import os, pathlib\nmark = pathlib.Path({str(tmp_path / 'died')!r})\n"
    once += "if not mark.exists():\n    mark.touch()\n    os.kill(os.getpid(), 9)\n"
    script.write_text(once + script.read_text())
    study = make_study(
        {
            "title": "toy",
            "tasks": {"toy": {"script": str(script)}},
            "models": {"model": {}},
            "losses": ["square", "cross_entropy"],
            "learning_rates": [1e-3],
        },
        "here",
    )
    records = carry_out(study, Options(tmp_path / "out"), RayPool(cluster))
    assert [(record.loss, record.seed, record.status) for record in records] == [
        (loss, seed, "finished") for loss in ("square", "cross_entropy") for seed in (0, 1, 2)
    ]
    assert (tmp_path / "died").exists()  # and its run was made once more


def test_stopping_ends_the_runs(cluster: str, tmp_path: Path) -> None:
    pool = RayPool(cluster)
    code = "import time\nprint('begun', flush=True)\n"
    code += "try:\n    for _ in range(1000):\n        time.sleep(0.1)\nexcept KeyboardInterrupt:\n    print('saved')\n"
    pool.submit(order(tmp_path, "long", code))
    log, end = tmp_path / "long.txt", time.monotonic() + 60
    while not (log.exists() and "begun" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    start = time.monotonic()
    pool.stop(20)
    assert log.read_text().split() == ["begun", "saved"] and time.monotonic() - start < 20


def test_what_the_cluster_cannot_do_is_refused(cluster: str) -> None:
    with pytest.raises(ValueError, match="the cluster has 0 GPUs, and a run takes 0.5"):
        RayPool(cluster, gpus_per_run=0.5)
