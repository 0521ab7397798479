"""A tracking server is looked for by the way that MLflow's client goes: its proxies, certificates and logins."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from experiments.tracking import Tracker, TrackingError, TrackingUnavailable, store
from tests.support.gateway import Gateway, basic, tls_context, write_certificate
from tests.support.servers import free_port

ELSEWHERE = "http://mlflow.invalid:5000"  # what no resolver knows


@pytest.fixture(autouse=True)
def own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    write_certificate(file)
    return file


def test_a_proxy_is_the_way_to_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.uri)
        Tracker(ELSEWHERE).check_reachable()
    assert proxy.asked.count(f"{ELSEWHERE}/health") == 2


def test_no_proxy_is_asked_for_a_host_that_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(TrackingError, match="cannot be reached: Connection refused"):
            Tracker(server.uri)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        Tracker(server.uri)
    assert "/health" in server.asked


def test_a_tunnel_is_the_way_to_a_server_with_tls(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    with Gateway(tls=tls_context(certificate)) as server, Gateway(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.uri)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        Tracker(server.uri)
    assert f"127.0.0.1:{server.port}" in proxy.asked
    assert "/health" in server.asked


@pytest.mark.parametrize("status", [407, 502, 503, 504])
def test_a_proxy_that_cannot_reach_the_server_says_so(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with Gateway(status=status) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.uri)
        with pytest.raises(TrackingError, match=f"The tracking server {ELSEWHERE} cannot be reached: {status} "):
            Tracker(ELSEWHERE)
    assert proxy.asked == [f"{ELSEWHERE}/health"]


def test_a_server_that_goes_away_is_unavailable() -> None:
    with Gateway() as server:
        tracker = Tracker(server.uri)
        tracker.check_reachable()
        server.status = 503
        with pytest.raises(TrackingUnavailable, match="503"):
            tracker.check_reachable()


def test_a_certificate_of_an_unknown_authority_is_refused_in_one_line(certificate: Path) -> None:
    with Gateway(tls=tls_context(certificate)) as server, pytest.raises(TrackingError) as refused:
        Tracker(server.uri)
    assert str(refused.value) == (
        f"The tracking server {server.uri} cannot be reached: self-signed certificate; "
        f"MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE name its authority."
    )


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "MLFLOW_TRACKING_SERVER_CERT_PATH"])
def test_a_person_s_own_authority_is_trusted(monkeypatch: pytest.MonkeyPatch, certificate: Path, variable: str) -> None:
    monkeypatch.setenv(variable, str(certificate))
    with Gateway(tls=tls_context(certificate)) as server:
        Tracker(server.uri)
    assert "/health" in server.asked


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_that_a_person_has_turned_off_is_off(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with Gateway(tls=tls_context(certificate)) as server:
        Tracker(server.uri)
    assert "/health" in server.asked


def test_a_client_certificate_is_shown(monkeypatch: pytest.MonkeyPatch, certificate: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    mine = tmp_path / "mine.pem"
    write_certificate(mine)
    with Gateway(tls=tls_context(certificate, clients=mine)) as server:
        with pytest.raises(TrackingError, match="cannot be reached: .*(certificate|EOF)"):  # TLS 1.3 may just close
            Tracker(server.uri)
        monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(mine))
        Tracker(server.uri)
    assert "/health" in server.asked


@pytest.mark.parametrize(
    ("environment", "user", "login"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "t0ken-of-ann"}, "", "Bearer t0ken-of-ann"),
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3cret"}, "", basic("ann", "s3cret")),
        ({}, "ann:s3cret@", basic("ann", "s3cret")),
    ],
)
def test_a_login_is_given_with_the_first_question(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], user: str, login: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Gateway(login=login) as server:
        Tracker(server.uri.replace("://", f"://{user}"))
    assert server.asked[0] == "/health"
    assert set(server.logins) == {login}


def test_a_login_that_is_refused_is_one_line_that_names_the_variables() -> None:
    with Gateway(login="Bearer t0ken") as server, pytest.raises(TrackingError) as refused:
        Tracker(server.uri)
    assert str(refused.value) == (
        f"The tracking server {server.uri} refuses the login: 401 Unauthorized. MLFLOW_TRACKING_USERNAME and "
        f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, hold one."
    )


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ANSWER_SECONDS", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(TrackingError, match="cannot be reached: timed out"):
        Tracker(f"http://127.0.0.1:{silent.getsockname()[1]}")
