"""The promoted file as an MLflow model: loaded by name, served over HTTP, without anything pickled."""

from __future__ import annotations

import json
import math
import os
import re
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

from architectures.errors import UsageError
from conversion import runtime
from conversion.promotion.place import DEFAULT_OUTPUT
from conversion.promotion.pyfunc_model import as_images
from experiments import datasets
from tests.support.promotions import artifacts
from tests.support.servers import free_port
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
    for same in (images[:2].astype("float64"), images[:2].astype("int64"), images[:2].tolist()):
        np.testing.assert_allclose(model.predict(same)[DIGITS], answers[DIGITS][:2], rtol=1e-5)
    with pytest.raises(mlflow.MlflowException, match="not 0.") as refused:
        model.predict(images.astype("float64") / 255)
    assert refused.value.get_http_status_code() == 400


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([0.5], "not 0.5"),
        ([-1], "not -1"),
        ([256.0], "not 256"),
        ([1e300], "not 1e+300"),
        ([math.nan], "not nan"),
        ([math.inf], "not inf"),
        ([0.0, 1.0], "not floats from 0 to 1"),
        (np.array([0, 1], np.float32), "not floats from 0 to 1"),
        ([True], "not list of bool"),
        (["7"], "not list of <U1"),
        ([None], "not list of object"),
        ([[1], [2, 3]], "equal lengths"),
        ([10**30], "not list of object"),
        ({"a": 1}, "not dict of object"),
        ("7", "not str of object"),
        (None, "not NoneType of object"),
    ],
)
def test_what_holds_no_pixels_is_refused(given: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)):
        as_images(given)


def test_pixels_are_taken_as_they_are() -> None:
    for given in ([0, 1], [0, 255.0], [0.0, 0.0], np.array([0, 1], np.int64), np.array([7], np.uint8)):
        taken = as_images(given)
        assert taken.dtype == np.uint8
        np.testing.assert_array_equal(taken, given)


def test_the_model_holds_no_pickle_and_no_path_of_this_machine(promoted: Promoted) -> None:
    place = artifacts(promoted.folder, promoted.result["promotion"])
    assert {file.name for file in place.iterdir()} - {"registered_model_meta", "__pycache__"} == {  # which loading adds
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
    port = str(free_port())
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
    return json.loads(post(url, json.dumps({"inputs": inputs}).encode()))["predictions"]


def post(url: str, body: bytes, content_type: str = "application/json") -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": content_type}, method="POST")
    with urllib.request.urlopen(request) as response:
        return response.read()


def status(url: str, body: bytes, content_type: str) -> int:
    try:
        post(url, body, content_type)
    except HTTPError as error:
        return error.code
    return 200


BLANK = np.zeros((1, 28, 28, 1), int).tolist()
GARBAGE: list[object] = [
    *({}, [], 7, "x", None, {"inputs": {}}, {"inputs": []}, {"inputs": None}, {"inputs": "x"}, {"inputs": [[[[300]]]]}),
    *({"inputs": [[]]}, {"inputs": [{}]}, {"inputs": [{"a": 1}]}, {"inputs": BLANK[0]}, {"inputs": [BLANK[0], [1]]}),
    *({"inputs": np.full((1, 28, 28, 1), 0.5).tolist()}, {"inputs": np.eye(28)[None, :, :, None].tolist()}),
    *({"instances": 7}, {"messages": [{"role": "user", "content": "7"}]}, {"prompt": "7"}, {"input": BLANK}),
    *({"dataframe_split": {}}, {"dataframe_split": {"data": [[1]]}}, {"dataframe_records": [{"a": 1}]}),
    *({"dataframe_split": 7}, {"dataframe_records": 7}, {"inputs": float("nan")}, {"inputs": [[[[float("inf")]]]]}),
]


def test_mlflow_serves_the_champion(served: str, promoted: Promoted) -> None:
    images = datasets.load("mnist5k").test.images[:5]
    executed = runtime.load(promoted.folder / DEFAULT_OUTPUT).predict(images)
    answers = ask(served, images.tolist())
    assert [answer["classLabel"] for answer in answers] == executed.labels
    probabilities = [[answer[digit] for digit in DIGITS] for answer in answers]
    np.testing.assert_allclose(probabilities, executed.probabilities, rtol=1e-6)
    garbage = [(json.dumps(each).encode(), "application/json") for each in GARBAGE]
    garbage += [(b"{", "application/json"), (b"\xff", "application/json"), (b"", "application/json")]
    garbage += [(b"a,b\n1,2", "text/csv"), (b"\xff", "text/csv"), (b"", "text/csv")]
    for body, content_type in garbage:
        assert status(served, body, content_type) == 400, (body[:99], content_type)
