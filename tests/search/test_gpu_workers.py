"""`--workers auto` on a GPU, without one: the rule by simulation, nvidia-smi by a script, the workers by real ones."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.training.precision import Gpu
from search.broker import _most_workers
from search.config import SweepConfig
from search.engines import gpu_workers, local
from search.engines.gpu_workers import FIRST, Load, Reading, Unreadable, choose_workers, may_have_gpu, read_gpu
from search.engines.messages import WorkerSetup
from search.orchestrate import sweep
from search.trials.progress import TrialProgress
from tests.support.untrained import idle_worker

H200 = "NVIDIA H200"
GIB = 2**30
QUERY = "--query-gpu=uuid,name,utilization.gpu,memory.used,memory.free --format=csv,noheader,nounits"
CORES = "as many as the cores and the memory allow"


def simulate(
    busy: Callable[[int], float], *, most: int = 16, each: float = GIB, others: int = 0, total: int = 140 * GIB
) -> tuple[list[int], str]:
    """The numbers of workers, one after another, on a GPU that so many keep so busy; and why the last one is final."""
    loads, numbers = [], [FIRST]
    while True:
        workers = numbers[-1]
        used = int(others + workers * each)
        loads.append(Load(workers, min(busy(workers), 100), used, total - used))
        chosen = choose_workers(loads, most)
        if chosen.workers > workers:
            numbers.append(chosen.workers)
        if chosen.reason:
            return numbers, chosen.reason
        assert chosen.workers > workers, "it would measure for ever"


@pytest.mark.parametrize(
    ("busy", "numbers", "reason"),
    [
        (lambda workers: 45 * workers, [2], "the GPU is busy 90 % of the time"),
        (lambda workers: 20 * workers, [2, 4], "the GPU is busy 80 % of the time"),
        (lambda workers: 12 * workers, [2, 4, 6, 7], "the GPU is busy 84 % of the time"),
        (lambda workers: 35 * workers, [2, 3], "the GPU is busy 100 % of the time"),
        (lambda workers: 5 * workers, [2, 4, 8, 16], CORES),
        (lambda workers: min(10 * workers, 42), [2, 4, 8], "the GPU is busy 42 % of the time, with 4 workers 40 %"),
        (lambda workers: 40 - workers, [2, 4], "the GPU is busy 36 % of the time, with 2 workers 38 %"),
        (lambda workers: 0, [2, 4], "the GPU is busy 0 % of the time, with 2 workers 0 %"),
    ],
)
def test_workers_are_added_while_the_gpu_has_time_and_they_help(
    busy: Callable[[int], float], numbers: list[int], reason: str
) -> None:
    assert simulate(busy) == (numbers, reason)


def test_never_more_than_cores_and_memory_allow() -> None:
    assert simulate(lambda workers: 5 * workers, most=3) == ([2, 3], CORES)
    short = choose_workers([Load(2, 10, GIB, 99 * GIB)], 1)
    assert short.workers == 2  # those that run stay, even if memory is short now


def test_never_more_than_the_memory_of_the_gpu_holds() -> None:
    for total in (2, 4, 6, 8, 24):
        numbers, reason = simulate(lambda workers: 4 * workers, total=total * GIB)
        assert numbers[-1] <= max(FIRST, total - 1), total  # a trial to come may take twice as much
        assert reason == (CORES if total == 24 else f"the GPU has {min(total // 2 - 1, 1)}.0 GiB of memory left"), total
    numbers, reason = simulate(lambda workers: 4 * workers, others=60 * GIB, total=80 * GIB)
    assert (numbers, reason) == ([2], "the GPU has 18.0 GiB of memory left")  # it belongs to somebody else
    assert (
        choose_workers([Load(2, 10, 2**20, GIB - 1)], 16).reason == "the GPU has 1.0 GiB of memory left"
    )  # kernels are to come


def test_noise_does_not_make_it_measure_for_ever() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        one, most, total = chance.uniform(0, 60), chance.randint(2, 64), chance.randint(4, 140)
        numbers, _ = simulate(
            lambda workers, one=one, chance=chance: max(0, one * workers**0.8 + chance.gauss(0, 5)),
            most=most,
            each=chance.uniform(0.3, 4) * GIB,
            total=total * GIB,
        )
        assert numbers == sorted({*numbers}), seed
        assert numbers[-1] <= max(FIRST, most), seed


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Install a tool that prints rows, or runs other lines of a shell; `asked` holds how it was called."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu_workers, "DRIVER", tmp_path / "no-driver")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(*rows: str, lines: str = "") -> Path:
        (folder / "rows").write_text("".join(f"{row}\n" for row in rows))
        tool = folder / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{lines or f"exec /bin/cat {folder}/rows"}\n')
        tool.chmod(0o755)
        return folder / "rows"

    return install


TWO = (f"GPU-1a, {H200}, 37, 1024, 140000", f"GPU-2b, {H200}, 5, 2048, 139000")
MIXED = ("GPU-0f, NVIDIA T400, 1, 100, 2000", f"GPU-1a, {H200}, 37, 1024, 140000")


@pytest.mark.parametrize(
    ("visible", "rows", "busy"),
    [
        (None, TWO, 37),
        ("", TWO, 37),
        ("0", TWO, 37),
        ("1", TWO, 5),
        ("1,0", TWO, 5),
        (" 1 , 0", TWO, 5),
        ("GPU-2", TWO, 5),
        ("GPU-2b,GPU-1a", TWO, 5),
        (None, MIXED, 37),
        ("1", MIXED, 37),
    ],
)
def test_the_gpu_that_tensorflow_computes_on_is_read(
    visible: str | None,
    rows: tuple[str, ...],
    busy: float,
    nvidia_smi: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvidia_smi(*rows)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    used, free = (2 * GIB, 139000 * 2**20) if busy == 5 else (GIB, 140000 * 2**20)
    assert read_gpu(H200) == Reading(busy, used, free)
    assert (tmp_path / "asked").read_text() == f"{QUERY}\n"


@pytest.mark.parametrize(
    ("visible", "rows", "lines", "told"),
    [
        ("0", MIXED, "", f"does not tell the load of {H200}"),  # CUDA counts the fastest first
        ("2", TWO, "", "does not tell"),
        ("MIG-5c", TWO, "", "does not tell"),
        (None, (f"GPU-1a, {H200}, [N/A], 1024, 140000",), "", "does not tell"),
        (None, (f"GPU-1a, {H200}, 37, [Insufficient Permissions], 1",), "", "does not tell"),
        (None, ("No devices were found",), "", "does not tell"),
        (None, (), "", "does not tell"),
        (None, (), "exit 9", "failed with exit code 9"),
        (None, (), "exec /bin/sleep 60", "did not answer within 0.2 s"),
        (None, None, "", "cannot be run: No such file or directory"),
    ],
)
def test_a_load_that_is_not_told(
    visible: str | None,
    rows: tuple[str, ...] | None,
    lines: str,
    told: str,
    nvidia_smi: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if rows is not None:
        nvidia_smi(*rows, lines=lines)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if "answer within" in told:
        monkeypatch.setattr(gpu_workers, "ANSWER_SECONDS", 0.2)
    with pytest.raises(Unreadable, match=f"^nvidia-smi {told}"):
        read_gpu(H200)


def test_a_machine_without_nvidias_driver_has_no_gpu(
    nvidia_smi: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not may_have_gpu()
    (tmp_path / "no-driver").touch()  # as in a container without the tool
    assert may_have_gpu()
    (tmp_path / "no-driver").unlink()
    nvidia_smi(*TWO)
    assert may_have_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not may_have_gpu()
    assert not (tmp_path / "asked").exists()


class Seen(TrialProgress):
    """Remembers what was chosen, and calls `then` with it."""

    def __init__(self, then: Callable[[int, str], None]) -> None:
        super().__init__(1_000, 8)
        self.numbers: list[int] = []
        self.reason = ""
        self._then = then

    def chosen(self, workers: int, reason: str) -> None:
        super().chosen(workers, reason)
        self.numbers.append(workers)
        self.reason = reason
        self._then(workers, reason)


@pytest.fixture
def room(nvidia_smi: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with room for eight workers, which is looked at as often as a test can wait for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"] + os.pathsep + os.defpath)
    monkeypatch.setattr(local, "cores", lambda: 8)
    monkeypatch.setattr(local, "WORKER_BYTES", 1)
    monkeypatch.setattr(gpu_workers, "READ_SECONDS", 0.05)
    monkeypatch.setattr(gpu_workers, "READINGS", 3)


def train(
    progress: Seen,
    *,
    trials: int = 1_000,
    auto: bool = True,
    workers: int = 8,
    enough: Callable[[], bool] = lambda: False,
) -> list[int]:
    """Sweep without training until the number of workers is final, or enough; returns how many there were then."""
    config = SweepConfig("sqlite:///mlflow.db", "grown", trials=trials, epochs=3, pruner="none", figures=False)
    engines = []

    def place(setup: WorkerSetup) -> local.LocalEngine:
        engines.append(local.LocalEngine(setup, workers, auto=auto))
        return engines[0]

    sweep(config, place, progress, lambda: bool(progress.reason) or enough())
    return [len(engine._workers) for engine in engines]


def test_a_sweep_adds_workers_until_the_gpu_is_busy(
    nvidia_smi: Callable[..., Path],
    room: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(local, "Worker", idle_worker(0.05, gpu=Gpu(H200, (9, 0))))
    rows = nvidia_smi(f"GPU-1a, {H200}, 60, 2048, 140000")

    def keep_busier(workers: int, _: str) -> None:
        if workers == 3:
            new = rows.with_name("new")
            new.write_text(f"GPU-1a, {H200}, 85, 3072, 139000\n")
            new.rename(rows)

    progress = Seen(keep_busier)
    assert train(progress) == [3]
    assert progress.numbers == [2, 3, 3]
    assert "\n3 workers: the GPU is busy 85 % of the time\n" in capfd.readouterr().err
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) >= 6


def test_a_gpu_whose_kernels_are_being_prepared_is_not_judged(
    nvidia_smi: Callable[..., Path], room: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "Worker", idle_worker(60, gpu=Gpu(H200, (9, 0))))
    nvidia_smi(*TWO)
    asked = tmp_path / "asked"
    progress = Seen(lambda *_: None)
    assert train(progress, enough=lambda: asked.exists() and len(asked.read_text().splitlines()) > 12) == [2]
    assert progress.numbers == [2]


def test_a_load_that_cannot_be_read_adds_no_worker(
    nvidia_smi: Callable[..., Path], room: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "Worker", idle_worker(0.05, gpu=Gpu(f"{H200} MIG 1g.18gb", (9, 0))))
    nvidia_smi(f"GPU-1a, {H200}, [N/A], 2048, 140000")
    assert train(Seen(lambda *_: None)) == [2]
    assert f"2 workers: nvidia-smi does not tell the load of {H200} MIG 1g.18gb\n" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("gpu", "auto", "workers"),
    [(None, True, 3), (Gpu(H200, (9, 0)), False, 3), (Gpu(H200, (9, 0)), True, 2)],
    ids=["none that TensorFlow sees", "a number was given", "nothing to choose"],
)
def test_nvidia_smi_is_not_asked_in_vain(
    gpu: Gpu | None,
    auto: bool,
    workers: int,
    nvidia_smi: Callable[..., Path],
    room: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "Worker", idle_worker(gpu=gpu))
    nvidia_smi(*TWO)
    progress = Seen(lambda *_: None)
    assert train(progress, trials=4, auto=auto, workers=workers) == [workers]
    assert not progress.numbers
    assert not (tmp_path / "asked").exists()


def test_without_nvidias_driver_all_workers_start_at_once(
    nvidia_smi: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "Worker", idle_worker())
    with local.LocalEngine(WorkerSetup((), (), 1), 3, auto=True) as engine:
        assert len(engine._workers) == 3
    nvidia_smi(*TWO)
    with local.LocalEngine(WorkerSetup((), (), 1), 3, auto=True) as engine:
        assert len(engine._workers) == FIRST


def test_on_ray_auto_is_what_the_cluster_has_room_for() -> None:
    config = SweepConfig("sqlite:///mlflow.db", "grown", engine="ray", workers="auto")
    assert _most_workers(config) is None
    assert _most_workers(replace(config, workers=3)) == 3
