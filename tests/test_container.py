"""The container: Dockerfile and compose.yaml as far as they can be read; `.ci/container` builds and starts them."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
LOOPBACK = "127.0.0.1"
TOOLS = Path(sys.executable).parent


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, in order."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    logical = "\n".join(lines).replace("\\\n", "").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in logical if line.strip())]


def given(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def command(service: str, **environment: str) -> list[str]:
    """A service's command line as Compose reads it: variables or their defaults put in, then split as a shell does."""
    text = re.sub(
        r"\$\{(\w+):-([^}]*)\}", lambda found: environment.get(found[1], found[2]), SERVICES[service]["command"]
    )
    assert "$" not in text
    return shlex.split(text)


def lint(dockerfile: str) -> list[str]:
    """Codes of hadolint's findings."""
    done = subprocess.run(
        [TOOLS / "hadolint", "--format", "json", "-"], input=dockerfile, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return [finding["code"] for finding in json.loads(done.stdout)]


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert lint(text) == []
    assert set(lint(text.replace("PIP_NO_CACHE_DIR=1", "A=1").replace("USER $USER_ID", "USER 0"))) == {
        "DL3042",
        "DL3002",
    }


def test_the_image_has_the_python_of_ci_and_runs_jupyterlab_as_somebody_else_than_root() -> None:
    assert given("FROM") == ["python:3.11-slim-bookworm"]
    assert given("USER") == ["$USER_ID"]
    assert given("ARG") == ["USER_ID=1000"]
    started = json.loads(given("CMD")[0])
    assert started[:2] == ["jupyter", "lab"]
    assert {"--ip=0.0.0.0", "--port=8888", "--ServerApp.root_dir=/home/researcher/notebooks"} <= set(started)
    assert not any("token" in part or "password" in part for part in started)


def test_installation_is_pinned_compiled_and_of_existing_extras(tmp_path: Path) -> None:
    for name in ("setup.cfg", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    dependencies, package = (shlex.split(run) for run in given("RUN") if "pip install" in run)
    at = dependencies.index("&&")
    assert dependencies[at + 1 : at + 6] == ["pip", "install", "--compile", "--constraint", "constraints.txt"]
    extras = re.fullmatch(r"\.\[([\w,]+)\]", dependencies[at + 6])
    assert extras
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert set(extras[1].split(",")) == {"notebooks", "postgres"} <= set(settings["options.extras_require"])
    assert package[:4] == ["pip", "install", "--compile", "--no-deps"]
    # The wheel without CUDA takes the place of the other one in both files, and only there.
    subprocess.run(dependencies[:at], cwd=tmp_path, check=True)
    for name in ("setup.cfg", "constraints.txt"):
        before, after = ((folder / name).read_text().splitlines() for folder in (ROOT, tmp_path))
        changed = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
        assert len(changed) == 1
        assert changed[0][0].replace("tensorflow", "tensorflow-cpu") == changed[0][1]


def test_every_package_is_copied_and_nothing_is_that_git_ignores() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [part.rstrip("/") for rest in given("COPY") for part in rest.split()[:-1]]
    assert sorted(copied) == sorted(kept)
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    packages = [name.rstrip("*") for name in settings["options.packages.find"]["include"].split()]
    assert set(packages) <= set(copied)
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
    assert not [name for name in kept for pattern in ignored if fnmatch.fnmatch(name, pattern)]


def test_compose_yaml_fits_the_compose_specification(tmp_path: Path) -> None:
    damaged = tmp_path / "compose.yaml"
    damaged.write_text((ROOT / "compose.yaml").read_text().replace("stop_grace_period:", "grace:"))
    check = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = [
        subprocess.run([*check, file], capture_output=True, text=True, check=False)
        for file in (ROOT / "compose.yaml", damaged)
    ]
    assert done[0].returncode == 0, done[0].stdout
    assert done[1].returncode == 1
    assert "'grace' was unexpected" in done[1].stdout


def test_the_services_and_what_they_wait_for() -> None:
    assert set(SERVICES) == {"postgres", "mlflow", "sweep", "jupyter"}
    for name, service in SERVICES.items():
        assert "container_name" not in service  # of which there could be only one
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[other], f"{name} waits for {other}, which never says that it is well"
    assert re.fullmatch(r"postgres:\d+", SERVICES["postgres"]["image"])  # a major version: its files fit no other one


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_on_loopback_alone(service: str) -> None:
    ports = SERVICES[service].get("ports", [])
    assert all(port.startswith(f"{LOOPBACK}:") for port in ports)
    assert len(ports) == {"mlflow": 1, "jupyter": 1}.get(service, 0)  # so --scale sweep=3 has nothing to fight over


def test_a_finished_sweep_is_not_started_again() -> None:
    assert SERVICES["sweep"]["restart"] == "on-failure:3"
    assert {SERVICES[name]["restart"] for name in ("postgres", "mlflow", "jupyter")} == {"unless-stopped"}


def test_the_sweep_s_command_line_is_one_and_names_its_neighbours() -> None:
    from search.sweep import parser

    python, flag, module, *arguments = command("sweep", ARGS="--workers 2 --architecture pocket", TRIALS="100")
    assert (python, flag, module) == ("python", "-m", "search.sweep")
    parsed = parser().parse_args(arguments)
    assert (parsed.study, parsed.trials, parsed.workers, parsed.architectures) == ("first", 100, 2, ["pocket"])
    assert parsed.tracking_uri == "http://mlflow:5000" == SERVICES["jupyter"]["environment"]["MLFLOW_TRACKING_URI"]
    assert parsed.storage == "postgresql+psycopg://pocketnets@postgres/studies"
    assert SERVICES["postgres"]["environment"]["POSTGRES_DB"] == "studies"
    assert parser().parse_args(command("sweep")[3:]).trials == 12


def test_mlflow_knows_its_command_line_and_answers_to_the_names_it_has() -> None:
    from mlflow.cli import server

    mlflow, name, *arguments = command("mlflow")
    assert (mlflow, name) == ("mlflow", "server")
    values = server.make_context(name, arguments, resilient_parsing=True).params
    assert (values["host"], values["port"], values["workers"]) == ("0.0.0.0", 5000, "1")
    assert values["allowed_hosts"] == "mlflow:*,localhost:*,127.0.0.1:*"
    assert values["backend_store_uri"] == "postgresql+psycopg://pocketnets@postgres/mlflow"
    assert COMPOSE["configs"]["databases"]["content"] == "CREATE DATABASE mlflow;"
    folder = values["artifacts_destination"]
    assert [volume for volume in SERVICES["mlflow"]["volumes"] if volume.endswith(f":{folder}")] == [
        f"artifacts:{folder}"
    ]
    assert Path(folder).name in given("RUN")[-1].split()  # made by its user, or the volume would be root's
    assert given("WORKDIR")[-1] == str(Path(folder).parent)


def test_no_password_is_in_a_command_line_and_no_token_anywhere() -> None:
    for service in SERVICES.values():
        assert "PASSWORD" not in str(service.get("command", ""))
    assert SERVICES["jupyter"]["environment"]["JUPYTER_TOKEN"] is None  # handed through where it is set
    passwords = {str(service.get("environment", {}).get("PGPASSWORD")) for service in SERVICES.values()} - {"None"}
    assert passwords == {"${POSTGRES_PASSWORD:-pocketnets}"}
    assert ".env" in (ROOT / ".gitignore").read_text().split()
