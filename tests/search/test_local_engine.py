"""The local engine's workers: how many, on which cores, and what they hold in common."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from search.engines import local
from tests.support.servers import wait_until
from tests.support.sweeps import TINY, assert_whole, children_of, start


def test_auto_is_a_worker_a_core_as_far_as_the_memory_goes(cores: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WORKER_BYTES", 1)
    assert local.auto_workers() == len(cores)
    monkeypatch.setattr(local, "WORKER_BYTES", psutil.virtual_memory().total)
    assert local.auto_workers() == 1
    monkeypatch.setattr(local, "WORKER_BYTES", 1)
    os.sched_setaffinity(0, cores[:1])
    assert local.auto_workers() == 1


@pytest.mark.slow
def test_workers_share_the_cores_and_map_one_copy_of_the_data(cores: list[int], tmp_path: Path) -> None:
    options = ["--workers", "auto", "--trials", "3", "--architecture", "malireddi"]
    process = start(tmp_path, "--study", "shared", *options, *TINY, cold=True)

    def workers() -> list[psutil.Process]:
        children = psutil.Process(process.pid).children()
        return [child for child in children if any("spawn_main" in word for word in child.cmdline())]

    def mapped(worker: psutil.Process) -> list[tuple[str, ...]]:
        """Permissions, device and inode of where the training images lie in a worker's memory."""
        lines = Path(f"/proc/{worker.pid}/maps").read_text().splitlines()
        return [tuple(line.split()[n] for n in (1, 3, 4)) for line in lines if line.endswith("train_images.npy")]

    wait_until(lambda: workers() and all(map(mapped, workers())), process)
    assert sorted(worker.cpu_affinity() for worker in workers()) == [[core] for core in cores]
    found = {place for worker in workers() for place in mapped(worker)}
    assert len(found) == 1  # the same file
    assert {permissions for permissions, *_ in found} == {"r--s"}
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert_whole(tmp_path, "shared", 3, 2)
    assert {run.data.tags["threads"] for run in children_of(tmp_path, "shared")} == {"1"}
