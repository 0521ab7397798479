"""The promoted file as an MLflow model: loaded by name, served over HTTP, without anything pickled."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError

import mlflow
import numpy as np
import pytest

from conversion import runtime
from conversion.output import DEFAULT_OUTPUT
from experiments import datasets
from tests.support.promotions import artifacts
from tests.support.stores import Promoted

MODEL = "models:/mnist5k-classifier-coreml@champion"
DIGITS = [str(digit) for digit in range(10)]


def test_the_champion_is_an_mlflow_model(promoted: Promoted) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{promoted.folder / 'mlflow.db'}")
    try:
        model = mlflow.pyfunc.load_model(MODEL)
    finally:
        mlflow.set_tracking_uri(None)
    images = datasets.load("mnist5k").test.images
    answers = model.predict(images)
    executed = runtime.load(promoted.folder / DEFAULT_OUTPUT).predict(images)
    assert list(answers.columns) == ["classLabel", *DIGITS]
    assert answers["classLabel"].tolist() == executed.labels
    np.testing.assert_array_equal(answers[DIGITS].to_numpy(), executed.probabilities)
    signature = model.metadata.signature
    assert signature.inputs.inputs[0].shape == (-1, 28, 28, 1)
    assert signature.inputs.inputs[0].type == np.dtype("uint8")
    assert signature.outputs.input_names() == ["classLabel", *DIGITS]
    with pytest.raises(mlflow.MlflowException, match="schema"):
        model.predict(images.astype("float64") / 255)


def test_the_model_holds_no_pickle_and_no_path_of_this_machine(promoted: Promoted) -> None:
    place = artifacts(promoted.folder, promoted.result["promotion"])
    assert {file.name for file in place.iterdir()} - {"registered_model_meta"} == {  # which loading by name adds
        *("MLmodel", "pyfunc_model.py", "requirements.txt", "python_env.yaml"),
        *("DigitClassifier.mlmodel", "promotion.json", "promotion.html"),
    }
    text = (place / "MLmodel").read_text()
    assert "model_code_path: pyfunc_model.py" in text
    for home in (Path(__file__).parent.parent, promoted.folder, sys.prefix):
        assert str(home) not in text
    assert "coremltools==" in (place / "requirements.txt").read_text()


@pytest.fixture
def served(promoted: Promoted) -> Iterator[str]:
    """`mlflow models serve` on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", MODEL),
            *("--env-manager", "local", "--host", "127.0.0.1", "--port", port, "--workers", "1"),
        ],
        cwd=promoted.folder,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # it calls uvicorn
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").close()
                break
            except URLError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def ask(url: str, inputs: object) -> list[dict]:
    request = urllib.request.Request(
        url, json.dumps({"inputs": inputs}).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["predictions"]


def test_mlflow_serves_the_champion(served: str, promoted: Promoted) -> None:
    images = datasets.load("mnist5k").test.images[:5]
    executed = runtime.load(promoted.folder / DEFAULT_OUTPUT).predict(images)
    answers = ask(served, images.tolist())
    assert [answer["classLabel"] for answer in answers] == executed.labels
    probabilities = [[answer[digit] for digit in DIGITS] for answer in answers]
    np.testing.assert_allclose(probabilities, executed.probabilities, rtol=1e-6)
    with pytest.raises(HTTPError, match="400"):
        ask(served, [[[[300]]]])
