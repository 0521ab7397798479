"""A sweep whose servers want passwords: none of its stores, files and lines holds one afterwards."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from architectures.errors import ProjectError
from benchmarks.no_training import NoTraining
from experiments.tracking import Tracker, TrackingUnavailable
from experiments.training.messages import failed
from search.config import SweepConfig
from search.engines.messages import Event, Finished
from search.options import continuation
from search.orchestrate import sweep
from search.study.storage import open_storage
from search.study.study import Study
from search.sweep import parser
from tests.support.commands import Command
from tests.support.gateway import Gateway, basic
from tests.support.servers import MlflowServer, PostgresServer, free_port

SECRET = "0pen+s3same/Qx"
ENCODED = "0pen%2Bs3same%2FQx"
FORMS = [SECRET, ENCODED, basic("ann", SECRET).removeprefix("Basic ")]


def held(found: bytes | str) -> list[str]:
    """The forms of the secret that are in there."""
    data = found.encode() if isinstance(found, str) else found
    return [form for form in FORMS if form.encode() in data]


def assert_no_file_holds_it(folder: Path) -> int:
    """Search all bytes of all files; returns in how many."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {str(file): found for file in files if (found := held(file.read_bytes()))} == {}
    return len(files)


def all_rows(url: str) -> list[str]:
    """All rows of a PostgreSQL database as texts: its files may hold long values compressed."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as database:
        tables = sqlalchemy.inspect(engine).get_table_names()
        return [
            str(row)
            for table in tables
            for row in database.execute(sqlalchemy.text(f'SELECT t::text FROM "{table}" t'))
        ]


class Failing(NoTraining):
    """Trains nothing; a trial fails with an error that quotes what a person gave, as of a plugin's database."""

    def __init__(self, number: int, *quoted: str) -> None:
        super().__init__()
        self._number, self._quoted = number, quoted

    def next_event(self, timeout: float | None = None) -> Event | None:
        event = super().next_event(timeout)
        if isinstance(event, Finished) and event.number == self._number:
            try:
                raise RuntimeError(f"cannot reach {' nor '.join(self._quoted)}")
            except RuntimeError as error:
                return failed(self._number, error)
        return event


@pytest.fixture
def mlflow_behind_a_login(tmp_path: Path) -> Iterator[tuple[Gateway, str]]:
    """A real tracking server behind a gateway that wants a login, and its URI with the login in it."""
    folder = tmp_path / "server"
    folder.mkdir()
    with MlflowServer(folder) as server, Gateway(server.port, login=basic("ann", SECRET)) as gateway:
        yield gateway, f"http://ann:{ENCODED}@127.0.0.1:{gateway.port}"


def swept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, config: SweepConfig, *quoted: str, interrupted: bool = False
) -> None:
    monkeypatch.chdir(folder)
    asks = iter([False] * 12 + [True] * 1000)
    sweep(
        config,
        engine=lambda _: Failing(1, *quoted),
        interrupted=(lambda: next(asks)) if interrupted else (lambda: False),
    )


@pytest.mark.slow
def test_a_sweep_over_a_server_with_a_login(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    mlflow_behind_a_login: tuple[Gateway, str],
    command: Command,
) -> None:
    gateway, uri = mlflow_behind_a_login
    work = tmp_path / "work"
    work.mkdir()
    config = SweepConfig(uri, "night", epochs=2, trials=3, keep=1, figures=False)
    swept(work, monkeypatch, config, uri, f"token={ENCODED}")
    out, err = capfd.readouterr()
    assert "failed: RuntimeError: cannot reach http://ann:***@127.0.0.1" in err
    assert held(out + err) == []
    tracker = Tracker(uri)
    states = {run.status for run in tracker.runs.of_experiment("mnist5k", study="night")}
    assert states == {"FINISHED", "FAILED"}
    listed = command("search.doctor", "--tracking-uri", uri, "--json", cwd=work)
    board = command("experiments.leaderboard", "--tracking-uri", uri, "--json", cwd=work)
    wrong = [
        command("experiments.compare", "no-run", "nor-this", "--tracking-uri", uri, *debug, cwd=work)
        for debug in ([], ["--debug"])
    ]
    for done in (listed, board, *wrong):
        assert held(done.out + done.err) == []
    assert "http://ann:***@127.0.0.1" in wrong[0].error
    gateway.status = 500
    with pytest.raises(TrackingUnavailable) as away:
        tracker.runs.of_experiment("mnist5k")
    assert held("".join(traceback.format_exception(away.value))) == []
    assert assert_no_file_holds_it(tmp_path) > 10


@pytest.mark.slow  # PostgreSQL
def test_a_sweep_over_postgresql_with_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with PostgresServer(tmp_path) as server:
        url = server.url.replace("@", f":{ENCODED}@")
        engine = sqlalchemy.create_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as database:
            database.execute(sqlalchemy.text("CREATE DATABASE runs"))
        runs = url.removesuffix("postgres") + "runs"
        config = SweepConfig(runs, "night", storage=url, epochs=2, trials=3, keep=1, figures=False)
        swept(tmp_path, monkeypatch, config, url, interrupted=True)
        swept(tmp_path, monkeypatch, config, url)
        out, err = capfd.readouterr()
        assert "cannot reach postgresql+psycopg://postgres:***@127.0.0.1" in err
        assert held(out + err) == []
        engine.dispose()
        for one, least in ((url, 10), (runs, 50)):
            rows = all_rows(one)
            assert len(rows) > least
            assert held("\n".join(rows)) == []
    assert assert_no_file_holds_it(tmp_path) > 20  # the cluster's own among them


def _unknown_study(url: str) -> object:
    return Study(SweepConfig("sqlite:///mlflow.db", "night", storage=url))


@pytest.mark.parametrize("opened", [open_storage, Tracker, _unknown_study], ids=["storage", "tracker", "study"])
@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql+psycopg://ann:{ENCODED}@127.0.0.1:{{port}}/studies?connect_timeout=1",
        f"postgresql+psycopg://ann:p@{SECRET}@127.0.0.1:{{port}}/studies",  # SQLAlchemy splits it at the first @
        f"postgresql+psycopg://ann:{SECRET}@127.0.0.1:port/studies",
        f"mysql+nothing://ann:{ENCODED}@127.0.0.1/studies",
        f"http://ann:{ENCODED}@127.0.0.1:{{port}}",
        f"http://ann:{SECRET}@127.0.0.1:{{port}}",
    ],
)
def test_a_store_that_does_not_open_keeps_the_secret(
    monkeypatch: pytest.MonkeyPatch, uri: str, opened: Callable[[str], object]
) -> None:
    monkeypatch.setattr("search.study.storage.OUTAGE_SECONDS", 0)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    with pytest.raises(ProjectError) as caught:
        opened(uri.format(port=free_port()))
    assert held(str(caught.value)) == []
    assert held("".join(traceback.format_exception(caught.value))) == []


def test_the_line_to_continue_by_asks_for_the_secrets_again() -> None:
    given = ["--storage", f"postgresql://ann:{ENCODED}@db/studies", "--tracking-uri", f"http://ann:{ENCODED}@mlflow"]
    line = continuation(parser().parse_args(given), "night", 12)
    assert line == (
        "python -m search.sweep --study night --trials 12 --storage 'postgresql://ann:***@db/studies' "
        "--tracking-uri 'http://ann:***@mlflow' (replace *** by the secrets, which are not recorded)"
    )
    plain = argparse.Namespace(**vars(parser().parse_args(["--storage", "postgresql://ann@db/studies"])))
    assert continuation(plain, "night", 12).endswith("--trials 12 --storage postgresql://ann@db/studies")
