"""No password and no token in what is printed or recorded: one function takes them out."""

from __future__ import annotations

import json
import pickle

import pytest

from architectures import redaction
from architectures.command import Parser, finite, print_json, run, traceback_text
from architectures.errors import UsageError
from architectures.redaction import MARK, learn, redact, redact_chain


@pytest.fixture(autouse=True)
def nothing_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_learned", set())
    for name in redaction.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("http://ann:s3cret@host:5000/x failed", "http://ann:***@host:5000/x failed"),
        ("HTTPS://ann:s3cret@host", "HTTPS://ann:***@host"),
        (
            "postgresql+psycopg://ann:s3cret@host/db?sslmode=require",
            "postgresql+psycopg://ann:***@host/db?sslmode=require",
        ),
        ("'postgresql://ann:s3cret@host/db', 'x'", "'postgresql://ann:***@host/db', 'x'"),
        ("http://:s3cret@host", "http://:***@host"),
        ("http://ann:s3@cr3t@host/a@b", "http://ann:***@host/a@b"),
        ("postgresql://ann:s3/cr?3t@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:123/s3cret@host/db", "postgresql://ann:***@host/db"),
        ("http://ann:s3cret@[::1]:5000", "http://ann:***@[::1]:5000"),
        ("https://ghp0123456789@host/repository.git", "https://***@host/repository.git"),
        ("no file /home/ann/http:/ann:s3cret@host/x.py", "no file /home/ann/http:/ann:***@host/x.py"),
        ("http:/s3cret@host/x.py", "http:/***@host/x.py"),
        ("two: http://a:one@h, http://b:two@h", "two: http://a:***@h, http://b:***@h"),
        ("http://host/?a=1&token=s3cret&b=2", "http://host/?a=1&token=***&b=2"),
        ("host=h password='a b' user=ann", "host=h password=*** user=ann"),
        ("s3://x/y?X-Amz-Signature=abc&sig=def", "s3://x/y?X-Amz-Signature=***&sig=***"),
        ("MLFLOW_TRACKING_TOKEN=s3cret", "MLFLOW_TRACKING_TOKEN=***"),
        ("{'Authorization': 'Basic YW5u'}", "{'Authorization': 'Basic ***'}"),
    ],
)
def test_secrets_are_found_by_their_place(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/ann/a@b/mlflow.db",
        "postgresql+psycopg://ann@host/db",
        "http://127.0.0.1:5000/#/models/x@champion",
        "models:/mnist5k-classifier@champion",
        "http://[::1]:5000/a@b",
        "folder:/data/a:b@c?image_size=24x24",
        "Basic training and bearers of tokens",
        "write to ann@example.org: no password",
    ],
)
def test_what_holds_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD"])
def test_values_of_variables_are_found_wherever_they_stand(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "0p3n+sesame")
    assert redact("says 0p3n+sesame.") == f"says {MARK}."
    monkeypatch.setenv(name, "ann")  # short, and a part of words
    assert redact("ann plans") == "ann plans"


def test_what_a_uri_holds_is_found_without_the_uri() -> None:
    learn("postgresql://ann:p@ss%20w0rd@host/db")
    assert (
        redact("cannot resolve 'ss%20w0rd@host', nor is it 'p@ss w0rd'")
        == f"cannot resolve '{MARK}@host', nor is it '{MARK}'"
    )


def test_a_project_error_holds_no_secret() -> None:
    error = UsageError("Unknown run 'x' in http://ann:s3cret@host.")
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert str(one) == "Unknown run 'x' in http://ann:***@host."
        assert "s3cret" not in repr(one)


def _fails() -> None:
    try:
        raise ConnectionError("cannot reach http://ann:s3cret@host")
    except ConnectionError:
        raise RuntimeError("postgresql://ann:s3cret@host/db failed")  # noqa: B904


def test_tracebacks_hold_no_secret() -> None:
    with pytest.raises(RuntimeError) as caught:
        _fails()
    shown = traceback_text(caught.value)
    assert "RuntimeError: postgresql://ann:***@host/db failed" in shown
    assert "s3cret" not in shown
    redact_chain(caught.value)
    assert str(caught.value) == "postgresql://ann:***@host/db failed"
    assert str(caught.value.__context__) == "cannot reach http://ann:***@host"


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_command_prints_no_secret(capsys: pytest.CaptureFixture[str], debug: list[str]) -> None:
    def body(_: object) -> int:
        name = "s3cret"
        raise RuntimeError(f"http://ann:{name}@host failed")

    assert run(Parser("x", "y"), body, debug) == 1
    err = capsys.readouterr().err
    assert "http://ann:***@host failed" in err
    assert "ann:s3cret" not in err
    with pytest.raises(SystemExit):
        run(Parser("x", "y"), body, ["--nothing=http://ann:s3cret@host"])
    assert "s3cret" not in capsys.readouterr().err


def test_json_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"findings": [{"remedy": "look at http://ann:s3cret@host"}], "loss": float("nan")})
    assert json.loads(capsys.readouterr().out) == {
        "findings": [{"remedy": "look at http://ann:***@host"}],
        "loss": None,
    }


def test_a_name_in_json_stays_though_it_is_somebodys_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_learned", set())
    redaction.learn("postgresql://pocket:pocket@db.example/studies")
    assert finite({"architecture": "pocket"}) == {"architecture": "pocket"}
    assert finite({"error": "login of pocket failed"}) == {"error": "login of *** failed"}
