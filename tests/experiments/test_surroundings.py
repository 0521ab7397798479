"""A user without a home, a script without a guard, an experiment that was deleted: one line that says what to do."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient

from architectures import quiet
from architectures.errors import ProjectError
from experiments.main_guard import UNGUARDED, UnguardedScript, check_main_guard, raise_if_unguarded
from experiments.tracking import Selection, Tracker
from search.config import SweepConfig
from search.engines import Engine
from search.engines.messages import WorkerSetup
from search.orchestrate import sweep

NOBODY = "import pwd\ndef unknown(uid): raise KeyError(uid)\npwd.getpwuid = unknown\n"  # as sitecustomize


def light_command(folder: Path, home: str | None) -> subprocess.CompletedProcess[str]:
    """What imports Matplotlib, in a process whose user the system does not know."""
    (folder / "sitecustomize.py").write_text(NOBODY)
    variables = {key: value for key, value in os.environ.items() if key not in ("HOME", "MPLCONFIGDIR")}
    variables |= {"TMPDIR": str(folder), "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', Path.cwd())}"}
    if home is not None:
        variables["HOME"] = home
    code = "import architectures, matplotlib, os, pathlib; print(pathlib.Path.home(), matplotlib.get_cachedir())"
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)


def test_a_user_without_a_home(tmp_path: Path) -> None:
    done = light_command(tmp_path, None)
    assert done.returncode == 0, done.stderr
    spare = tmp_path / f"pocketnets-{os.getuid()}"
    assert done.stdout.split()[0] == str(spare)
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: the home directory is unknown: HOME is not set, and user id ")
    assert line.endswith(f"; using {spare} instead; set HOME to a writable folder.")
    assert spare.stat().st_mode & 0o777 == 0o700


def test_a_home_that_is_read_only(tmp_path: Path) -> None:
    done = light_command(tmp_path, "/proc/nobody")  # where not even root may write
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1].startswith(str(tmp_path / f"pocketnets-{os.getuid()}"))
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: the home directory /proc/nobody is not there or not writable; using ")


@pytest.mark.parametrize("taken", ["link", "file", "others write", "others own"])
def test_a_spare_home_that_others_could_write_into_is_not_used(
    taken: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spare, own = tmp_path / f"pocketnets-{os.getuid()}", os.getuid()
    if taken == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        spare.symlink_to(tmp_path / "elsewhere")
    elif taken == "file":
        spare.touch()
    else:
        spare.mkdir(mode=0o700)
    if taken == "others write":
        spare.chmod(0o770)
    if taken == "others own":
        spare = spare.rename(tmp_path / f"pocketnets-{own + 1}")
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
    for name in ("HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "/proc/nobody")  # put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", classmethod(nobodys_home))

    quiet.set_defaults()
    used = Path(os.environ["HOME"])
    assert used == Path(os.environ["MPLCONFIGDIR"]) != spare
    assert (used.parent, used.lstat().st_mode & 0o777) == (tmp_path, 0o700)


def nobodys_home(cls: type[Path]) -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_home_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    quiet.set_defaults()
    assert (os.environ["HOME"], "MPLCONFIGDIR" in os.environ) == (str(tmp_path), False)
    assert capfd.readouterr().err == ""


def test_a_script_that_starts_processes_on_import_ends_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "from search.engines.local import LocalEngine\n"
        "from search.engines.messages import WorkerSetup\n"
        "with LocalEngine(WorkerSetup((), (), 1), 1) as engine:\n"
        "    engine.wait_until_ready()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: Training processes import {script}, which would start them again: ")
    assert line.endswith("put its code under `if __name__ == '__main__':`.")


def test_a_process_that_imports_the_script_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(SystemExit) as ended:
        check_main_guard()
    assert ended.value.code == UNGUARDED
    with pytest.raises(ProjectError, match="put its code under"):
        raise_if_unguarded(ended.value.code)
    raise_if_unguarded(1)


def test_a_script_that_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", "<stdin>", raising=False)
    monkeypatch.setattr(main, "__spec__", None)
    with pytest.raises(UnguardedScript, match="<stdin> is not a file: save the script as one"):
        check_main_guard()


def test_a_script_that_is_no_file_may_bring_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which starts no processes that would have to import the script."""

    class Started(Exception):
        pass

    def engine(_: WorkerSetup) -> Engine:
        raise Started

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    config = SweepConfig("sqlite:///mlflow.db", "piped")
    with pytest.raises(UnguardedScript):
        sweep(config)
    assert not list(tmp_path.iterdir())
    with pytest.raises(Started):
        sweep(config, engine=engine)


def test_an_experiment_that_was_deleted(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(uri)
    identity = tracker.experiment("digits")
    run_id = MlflowClient(uri).create_run(identity).info.run_id
    MlflowClient(uri).delete_experiment(identity)
    told = f"MLflow experiment 'digits' is deleted. Restore it: mlflow experiments restore --experiment-id {identity}."
    for read in (
        lambda: tracker.selections.finished(Selection("digits")),
        lambda: tracker.selections.best(Selection("digits"), 10),
        lambda: tracker.runs.children(run_id),
        lambda: tracker.runs.of_experiment("digits"),
        lambda: tracker.experiment("digits"),
    ):
        with pytest.raises(ProjectError) as refused:
            read()
        assert str(refused.value) == told
