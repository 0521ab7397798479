"""Real servers for tests, on loopback: MLflow's, and PostgreSQL from Debian. Each can be killed and started again."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from experiments.tracking import Tracker
from tests.support.components import require
from tests.support.warm import Program

AnyProcess = Program | subprocess.Popen[str] | subprocess.Popen[bytes]


def free_port() -> int:
    """Return a port that nothing listens on, between those of Ray and those that the kernel gives to connections."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # no seed: other processes choose, too
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server(ABC):
    """A process that listens on a port of 127.0.0.1. Use as a context manager: it is running inside."""

    ends_by = signal.SIGTERM

    def __init__(self) -> None:
        self.port = free_port()
        self.process: AnyProcess | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = self._spawn()
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)

    def kill(self) -> None:
        """kill -9, its children included."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        with suppress(ProcessLookupError):  # once none is left: PostgreSQL does not start while an old child lives
            for _ in range(100):  # of five seconds: one that nobody reaps stays for good
                os.killpg(self.process.pid, 0)
                time.sleep(0.05)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, self.ends_by)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    @abstractmethod
    def _spawn(self) -> AnyProcess:
        """Start the process, as the leader of a group of its own."""

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


class MlflowServer(Server):
    """A tracking server that stores artifacts itself, in a folder, with records of its own or those of a `store`."""

    def __init__(self, folder: Path, store: str = "server.db") -> None:
        super().__init__()
        self.folder = folder
        self.store = folder / store
        self.uri = f"http://127.0.0.1:{self.port}"

    def _spawn(self) -> Program:
        if not self.store.exists():
            Tracker(f"sqlite:///{self.store}")  # a copy of one, where the server would migrate its own
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        stores = ["--backend-store-uri", f"sqlite:///{self.store}"]
        stores += ["--artifacts-destination", str(self.folder / "files")]
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        env = {**os.environ, **settings}
        return Program("tests.support.mlflow_server", *address, *stores, cwd=self.folder, env=env)


class PostgresServer(Server):
    """A cluster of its own in a folder, with an empty database."""

    ends_by = signal.SIGINT  # at once: after SIGTERM it would wait for those who are connected

    def __init__(self, folder: Path) -> None:
        super().__init__()
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("postgres") or "/").parent]
        require((found[-1] / "initdb").exists(), install="apt-get install postgresql")
        self._bin = found[-1]
        self._data = folder / "postgres"
        self._data.mkdir()
        self._user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        name = self._user or pwd.getpwuid(os.geteuid()).pw_name
        if self._user:
            shutil.chown(self._data, self._user)
            self._let_in()
        self._run("initdb", "-D", str(self._data), "--auth=trust", "--username", name, "--no-sync")
        self.url = f"postgresql+psycopg://{name}@127.0.0.1:{self.port}/postgres"

    def _run(self, command: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / command, *arguments], user=self._user, capture_output=True, cwd="/", check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def _let_in(self) -> None:
        """Let another user reach the folder: each pytest that is started closes its own user's folders again."""
        for parent in self._data.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._user:
            self._let_in()
        place = ["-p", str(self.port), "-k", str(self._data), "-c", "listen_addresses=127.0.0.1"]
        return subprocess.Popen(
            [self._bin / "postgres", "-D", self._data, *place],
            user=self._user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _answers(self) -> bool:
        done = subprocess.run(
            [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], cwd="/", check=False
        )
        return done.returncode == 0


def wait_until(condition: Callable[[], object], *processes: AnyProcess, seconds: float = 600) -> None:
    """Poll until a condition holds, which one that raises does not yet; fails if one of the processes has ended.

    A look that takes long is taken less often: it should not slow down what it waits for.
    """
    deadline = time.monotonic() + seconds
    while True:
        before = time.process_time()
        try:
            if condition():
                return
        except Exception:
            pass
        for process in processes:
            assert process.poll() is None, process.communicate()
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
            pytest.fail(f"it did not happen; printed was {[process.communicate() for process in processes]}")
        time.sleep(max(0.1, 10 * (time.process_time() - before)))
