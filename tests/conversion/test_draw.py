"""The drawing page's server: what it answers, what it keeps, whom it refuses; asked over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from mlflow import MlflowClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

import architectures
from conversion import runtime
from conversion.coreml.convert import convert
from conversion.coreml.facts import FileFacts
from conversion.coreml.writing import write
from conversion.draw import server as draw_server
from conversion.draw.collection import Collection
from conversion.draw.reader import GUESSES, SURE, Guess, Reader, Recognition, open_reader
from conversion.draw.request import MAX_POINTS, Drawing, parse_drawing
from conversion.draw.server import application, bind
from experiments import datasets
from experiments.classifier import as_classifier
from experiments.evaluation.strokes import render_strokes
from tests.support.drafts import Draft
from tests.support.drawing_page import answering, half_a_request, serving

READING = Path(__file__).parents[2] / "ios/DigitKit/Sources/DigitKit/Reading.swift"
SEVEN = {"pad": 300, "strokes": [[[60, 50], [200, 50], [110, 250]]]}
ONE = {"pad": 300, "strokes": [[[150, 40], [150, 250]]]}


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int
    facts: dict  # what --json printed
    collection: Path

    def ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of one request; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            given = {"Content-Type": "application/json"} if content is not None else {}
            connection.request(method, path, content, given | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def post(self, path: str, body: object, **headers: str) -> tuple[int, dict]:
        status, content, _ = self.ask(
            "POST", path, body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        return status, json.loads(content)


@pytest.fixture(scope="module")
def served(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server on a promoted file."""
    collection = tmp_path_factory.mktemp("drawn") / "mine"
    with serving(digits_file, "--collect", collection) as facts:
        yield Served(int(facts["address"].split(":")[-1].strip("/")), facts, collection)


def test_the_file_itself_answers(served: Served, digits_file: Path) -> None:
    status, answer = served.post("/read", SEVEN)
    assert status == 200
    image = render_strokes(SEVEN["strokes"], pad=300)
    assert base64.b64decode(answer["pixels"]) == image.tobytes()
    executable = runtime.load(digits_file)
    confidences = executable.probabilities(image[None, :, :, None])[0]
    best = np.argsort(-confidences)[:3]
    assert [guess["label"] for guess in answer["guesses"]] == [executable.interface.labels[i] for i in best]
    np.testing.assert_allclose([g["confidence"] for g in answer["guesses"]], confidences[best], rtol=1e-6)
    assert answer["guesses"][0]["label"] == "7"
    assert answer["render_ms"] > 0
    assert answer["execute_ms"] > 0


def test_an_empty_pad_has_no_reading(served: Served) -> None:
    for strokes in ([], [[]]):
        status, answer = served.post("/read", {"pad": 300, "strokes": strokes})
        assert (status, answer["guesses"], answer["sure"]) == (200, [], False)


def test_it_is_sure_from_the_threshold_on() -> None:
    def sure(confidence: float) -> bool:
        return Recognition((Guess("7", confidence),), np.zeros((28, 28), np.uint8), 0.0, 0.0).sure

    assert sure(SURE)
    assert not sure(np.nextafter(SURE, 0))


@pytest.mark.parametrize(("named", "threshold"), [(None, SURE), ("0.8123", 0.8123)])
@pytest.mark.parametrize("off", [-0.001, 0.001])
def test_a_file_that_is_just_not_sure(
    digits_file: Path, tmp_path: Path, named: str | None, threshold: float, off: float
) -> None:
    confidence = threshold + off
    reader = open_reader(answering(digits_file, "4", confidence, tmp_path / "four.mlmodel", threshold=named))
    answer = reader.read(parse_drawing(json.dumps(SEVEN).encode()))
    assert answer.guesses[0].label == "4"
    assert answer.guesses[0].confidence == pytest.approx(confidence, abs=1e-5)
    assert answer.sure == (off > 0)


def test_the_app_has_the_same_threshold_and_guesses() -> None:
    held = dict(re.findall(r"static let (threshold|shown) = ([\d.]+)", READING.read_text()))
    assert {name: float(value) for name, value in held.items()} == {"threshold": SURE, "shown": GUESSES}


def test_the_page_names_the_run_of_its_file(served: Served, digits_file: Path) -> None:
    status, content, _ = served.ask("GET", "/model")
    facts = json.loads(content)
    assert status == 200
    assert re.fullmatch("[0-9a-f]{32}", facts["run_id"])
    assert facts["run_id"] == served.facts["run_id"]
    assert facts["run_link"] == served.facts["run_link"] == f"http://127.0.0.1:5000/#/runs/{facts['run_id']}"
    assert facts["bytes"] == digits_file.stat().st_size
    assert facts["labels"] == [str(digit) for digit in range(10)]


def test_the_page_asks_nobody_else(served: Served) -> None:
    status, content, headers = served.ask("GET", "/")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.findall(rb"https?://|src=|@import|url\(", content)


def test_corrected_drawings_are_a_data_set(served: Served) -> None:
    import keras
    from PIL import Image

    assert served.post("/keep", SEVEN | {"label": "1"})[1] == {"label": "1", "kept": 1}
    assert served.post("/keep", SEVEN | {"label": "7"})[1] == {"label": "7", "kept": 1}  # the same drawing, corrected
    assert served.post("/keep", SEVEN | {"label": "7"})[1] == {"label": "7", "kept": 1}
    assert served.post("/keep", ONE | {"label": "1"})[1] == {"label": "1", "kept": 2}
    data = keras.utils.image_dataset_from_directory(
        served.collection, color_mode="grayscale", image_size=(28, 28), batch_size=None, shuffle=False, verbose=False
    )
    assert data.class_names == ["1", "7"]
    images = np.stack([image.numpy()[..., 0] for image, _ in data])
    np.testing.assert_array_equal(images[0], render_strokes(ONE["strokes"], pad=300))
    np.testing.assert_array_equal(images[1], render_strokes(SEVEN["strokes"], pad=300))
    (kept,) = (served.collection / "7").iterdir()
    with Image.open(kept) as picture:
        assert json.loads(picture.text["strokes"]) == SEVEN


@pytest.mark.slow
def test_a_sweep_trains_on_corrected_drawings(served: Served, command: Callable, tmp_path: Path) -> None:
    slanted_one = {"pad": 300, "strokes": [[[190, 40], [120, 250]]]}
    short_one = {"pad": 300, "strokes": [[[120, 90], [150, 60], [150, 250]]]}
    narrow_seven = {"pad": 300, "strokes": [[[90, 50], [190, 50], [130, 250]]]}
    crossed_seven = {"pad": 300, "strokes": [*SEVEN["strokes"], [[110, 150], [200, 150]]]}
    drawn = {"1": (ONE, slanted_one, short_one), "7": (SEVEN, narrow_seven, crossed_seven)}  # one for each split
    for label, drawings in drawn.items():
        for drawing in drawings:
            assert served.post("/keep", drawing | {"label": label})[0] == 200
    source = f"folder:{served.collection}?image_size=28x28&color_mode=grayscale"
    data = datasets.load(source)
    assert data.input_shape == (28, 28, 1)
    found = [
        (data.class_names[label], image.tobytes())
        for split in (data.train, data.val, data.test)
        for image, label in zip(split.images, split.labels, strict=True)
    ]
    stored = [
        (label, render_strokes(one["strokes"], pad=300).tobytes()) for label, ones in drawn.items() for one in ones
    ]
    assert len(set(stored)) == 6
    assert sorted(found) == sorted(stored)
    one = ["--trials", "1", "--epochs", "1", "--batch-size", "2", "--architecture", "malireddi", "--filters", "4"]
    swept = command("search.sweep", "--dataset", source, *one, "--json")
    assert swept.code == 0, swept.err
    (best,) = swept.json["leaderboard"]
    run = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(best["run_id"])
    assert (run.info.status, run.data.tags["dataset_digest"]) == ("FINISHED", data.digest)


def test_a_drawing_is_read_while_another_is_kept(digits_file: Path, tmp_path: Path) -> None:
    counting, read = threading.Event(), threading.Event()
    executed: list[Drawing] = []

    class SlowDisk(Collection):
        """Counts its drawings only after one was read."""

        def __len__(self) -> int:
            counting.set()
            assert read.wait(timeout=20)
            return super().__len__()

    class Recording(Reader):
        """Records on what the file is executed."""

        def read(self, drawing: Drawing) -> Recognition:
            executed.append(drawing)
            return super().read(drawing)

    reader = Recording(digits_file, runtime.load(digits_file))
    with bind(0) as listener:
        port = listener.getsockname()[1]
        app = application(reader, port=port, run_link=None, collection=SlowDisk(tmp_path))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        served = Served(port, {}, tmp_path)
        with ThreadPoolExecutor() as threads:
            threads.submit(server.run, sockets=[listener])
            try:
                kept = threads.submit(served.post, "/keep", SEVEN | {"label": "7"})
                assert counting.wait(timeout=20)
                assert served.post("/read", ONE)[0] == 200
                read.set()
                assert kept.result() == (200, {"label": "7", "kept": 1})
            finally:
                server.should_exit = True
    assert executed == [parse_drawing(json.dumps(ONE).encode())]


def test_two_labels_at_once_leave_one(served: Served) -> None:
    def keep(pad: int, label: str) -> int:
        return served.post("/keep", {"pad": pad, "strokes": SEVEN["strokes"], "label": label})[0]

    before = set(served.collection.glob("*/*"))
    with ThreadPoolExecutor(4) as browser:
        for pad in range(400, 430):  # as many drawings
            assert set(browser.map(keep, [pad] * 4, "1717")) == {200}
            (kept,) = set(served.collection.glob("*/*")) - before
            kept.unlink()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ([], "one object of pad, strokes"),
        ({"pad": 300}, "one object of pad, strokes"),
        (SEVEN | {"more": 1}, "one object of pad, strokes"),
        (SEVEN | {"pad": 0}, "pad must be a number"),
        (SEVEN | {"pad": "300"}, "pad must be a number"),
        (SEVEN | {"pad": True}, "pad must be a number"),
        (b'{"pad": NaN, "strokes": []}', "pad must be a number"),
        (b'{"pad": 1' + b"0" * 4000 + b', "strokes": []}', "pad must be a number"),
        ({"pad": 300, "strokes": 1}, "list of lists"),
        ({"pad": 300, "strokes": [1]}, "list of lists"),
        ({"pad": 300, "strokes": [[1]]}, "list of two numbers"),
        ({"pad": 300, "strokes": [[[1, 2, 3]]]}, "list of two numbers"),
        ({"pad": 300, "strokes": [[[1, None]]]}, "coordinate must be a number"),
        (b'{"pad": 300, "strokes": [[[1, Infinity]]]}', "coordinate must be a number"),
    ],
)
def test_a_request_that_the_page_would_not_send(served: Served, body: object, complaint: str) -> None:
    status, answer = served.post("/read", body)
    assert status == 400
    assert complaint in answer["error"]


def test_only_labels_of_the_model_are_kept(served: Served) -> None:
    before = sorted(served.collection.rglob("*"))
    for label in ("../../7", "10", "", 7, None, ["7"]):
        status, answer = served.post("/keep", SEVEN | {"label": label})
        assert status == 400
        assert "label must be one of 0, 1" in answer["error"]
    assert served.post("/keep", {"pad": 300, "strokes": [], "label": "7"})[0] == 400
    assert sorted(served.collection.rglob("*")) == before


def test_other_sites_are_refused(served: Served) -> None:
    here = f"127.0.0.1:{served.port}"
    assert served.post("/read", SEVEN, Origin=f"http://{here}")[0] == 200
    assert served.post("/read", SEVEN, Host=f"localhost:{served.port}")[0] == 200
    for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1", f"127.0.0.1:{served.port + 1}", ""):
        assert served.post("/read", SEVEN, Host=host)[0] in {400, 403}
        assert served.ask("GET", "/", headers={"Host": host})[0] in {400, 403}
    for origin in (
        "https://evil.example",
        "null",
        f"https://{here}",
        "http://127.0.0.1:1",
        f"http://{here}.evil.example",
    ):
        assert served.post("/read", SEVEN, Origin=origin)[0] == 403
        assert served.post("/keep", SEVEN | {"label": "7"}, Origin=origin)[0] == 403
    assert served.post("/read", SEVEN, Content_Type="text/plain")[0] == 415
    assert served.post("/read", SEVEN, Content_Type="application/json; charset=utf-8")[0] == 200


def test_the_size_of_a_request_is_limited(served: Served) -> None:
    many = {"pad": 300, "strokes": [[[k % 300, k // 300] for k in range(MAX_POINTS)]]}
    assert served.post("/read", many)[0] == 200
    for more in ([[1, 1]], []):  # a stroke without points is counted, too
        status, answer = served.post("/read", many | {"strokes": [*many["strokes"], more]})
        assert (status, answer["error"]) == (413, "The drawing has 4,001 points; 4,000 are allowed: clear the pad.")
    status, answer = served.post("/read", b" " * (2**18 + 1))
    assert (status, answer["error"]) == (
        413,
        "The drawing takes 262,145 bytes; 262,144 are allowed: clear the pad.",
    )
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request(
        "POST", "/read", iter([b" " * 2**17] * 3), {"Content-Type": "application/json"}, encode_chunked=True
    )
    answer = connection.getresponse()
    assert (answer.status, "clear the pad" in json.loads(answer.read())["error"]) == (413, True)
    connection.close()
    for nonsense in ("-5", "1e3", "5, 6"):
        assert served.ask("POST", "/read", b"", headers={"Content-Length": nonsense})[0] == 400


def test_a_request_that_breaks_off_is_no_error_of_the_server(
    digits_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(digits_file) as facts:
        port = int(facts["address"].split(":")[-1].strip("/"))
        head = f"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as browser:
            browser.sendall(f"{head}Content-Length: 100\r\n\r\n{{}}".encode())
        with socket.create_connection(("127.0.0.1", port), timeout=20) as browser:  # the server goes on
            browser.sendall(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
            assert browser.recv(100).startswith(b"HTTP/1.1 400")
    assert capfd.readouterr().err == ""


def test_answers_leave_at_once() -> None:
    """Without TCP_NODELAY the kernel holds each kept-alive answer back for 40 ms."""
    asked: list[int] = []

    class Asking(draw_server.Connection):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            accepted = transport.get_extra_info("socket")
            asked.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)

    with bind(0) as listener, ThreadPoolExecutor() as threads, pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw_server, "Connection", Asking)
        port = listener.getsockname()[1]
        server = draw_server.server(app)
        threads.submit(server.run, sockets=[listener])
        try:
            assert Served(port, {}, Path()).ask("GET", "/")[0] == 200
        finally:
            server.should_exit = True
    assert asked == [1]


def test_unfinished_requests_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw_server, "REQUEST_SECONDS", 0.2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)

    with bind(0) as listener, ThreadPoolExecutor() as threads:
        port = listener.getsockname()[1]
        server = draw_server.server(app)
        threads.submit(server.run, sockets=[listener])
        try:
            with contextlib.ExitStack() as open_ones:
                for part in range(4):
                    browser = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
                    browser.sendall(half_a_request(port, part))
                    assert browser.recv(100) == b""
                kept = open_ones.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)))
                for _ in range(2):  # one that is whole stays open, however long it was before
                    kept.request("POST", "/read", b"whole")
                    assert kept.getresponse().read() == b"whole"
                    time.sleep(0.3)
        finally:
            server.should_exit = True


def test_it_ends_without_a_word_while_requests_are_unfinished(
    digits_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.ExitStack() as open_ones, serving(digits_file) as facts:
        port = int(facts["address"].split(":")[-1].strip("/"))
        for number in range(300):
            browser = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            browser.sendall(half_a_request(port, number))
        whole = b'{"pad": 300, "strokes": [[[1, 1], [299, 299]]]}'
        for _ in range(100):  # and others wait for their answer
            browser = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            head = half_a_request(port, 2).replace(b"100\r\n", f"{len(whole)}\r\n".encode())
            browser.sendall(head + b"\r\n" + whole)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_without_descriptors_it_says_so_once_and_goes_on(digits_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(digits_file, descriptors=40) as facts:
        port = int(facts["address"].split(":")[-1].strip("/"))
        with contextlib.ExitStack() as open_ones:
            for _ in range(60):
                open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            time.sleep(1.5)  # asyncio tries again after a second
        assert Served(port, {}, Path()).ask("GET", "/")[0] == 200
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("warning: socket.accept() out of system resource: Too many open files")


def test_a_fault_of_the_server_is_one_line(digits_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(Reader):
        def read(self, drawing: Drawing) -> Recognition:
            raise ValueError("broken")

    with bind(0) as listener, ThreadPoolExecutor() as threads:
        port = listener.getsockname()[1]
        app = application(Broken(digits_file, runtime.load(digits_file)), port=port, run_link=None, collection=None)
        server = draw_server.server(app)
        threads.submit(server.run, sockets=[listener])
        try:
            assert Served(port, {}, Path()).ask("POST", "/read", ONE)[0] == 500
        finally:
            server.should_exit = True
    assert capfd.readouterr().err.splitlines() == ["error: '/read': ValueError: broken (--debug shows where)"]


def test_only_this_machine_is_served(served: Served) -> None:
    with socket.socket() as outside:  # another address of this machine would be open if it listened on all
        outside.settimeout(5)
        assert outside.connect_ex(("127.0.0.2", served.port)) != 0


def test_unknown_paths_and_methods(served: Served) -> None:
    status, content, _ = served.ask("GET", "/../../etc/passwd")
    assert (status, json.loads(content)) == (404, {"error": "Not Found"})
    assert served.ask("GET", "/read")[0] == 405
    assert served.ask("DELETE", "/")[0] == 405


def test_errors_before_serving(command: Callable, tmp_path: Path, digits_file: Path, served: Served) -> None:
    assert "promote a model first" in command("conversion.draw.__main__").error
    assert command("conversion.draw.__main__", tmp_path / "none.mlmodel").code == 1
    (tmp_path / "garbage.mlmodel").write_bytes(b"garbage")
    assert command("conversion.draw.__main__", tmp_path / "garbage.mlmodel").code == 1
    taken = command("conversion.draw.__main__", digits_file, "--port", served.port, "--collect", tmp_path / "mine")
    assert (taken.code, "Choose another with --port" in taken.error) == (1, True)
    assert not (tmp_path / "mine").exists()
    assert command("conversion.draw.__main__", digits_file, "--port", 70000).code == 2
    (tmp_path / "file").write_text("")
    no_folder = command("conversion.draw.__main__", digits_file, "--port", 0, "--collect", tmp_path / "file")
    assert (no_folder.code, "is a file, not a folder" in no_folder.error) == (2, True)


def test_another_preprocessing_is_refused(command: Callable, tmp_path: Path, digits_file: Path) -> None:
    draft = Draft(digits_file)
    told = draft.spec.description.metadata.userDefined
    told["preprocessing_version"] = "0"
    refused = command("conversion.draw.__main__", draft.save(tmp_path / "older.mlmodel"))
    assert refused.code == 3
    assert "preprocessing version 0, this page draws version 1" in refused.error
    told.clear()
    silent = command("conversion.draw.__main__", draft.save(tmp_path / "silent.mlmodel"))
    assert (silent.code, "version unknown" in silent.error) == (3, True)


@pytest.mark.parametrize(
    ("shape", "takes"),
    [((32, 28, 1), "32x28 GRAYSCALE"), ((28, 32, 1), "28x32 GRAYSCALE"), ((28, 28, 3), "28x28 RGB")],
)
def test_another_size_or_colour_is_refused(
    command: Callable, tmp_path: Path, shape: tuple[int, int, int], takes: str
) -> None:
    facts = FileFacts(tuple("0123456789"), "pictures", "d" * 64, "malireddi", "r" * 32, "", "c" * 40, 0.0)
    file = convert(as_classifier(architectures.build("malireddi", shape, 10, filters=4)), facts)
    write(file, tmp_path / "other.mlmodel")
    refused = command("conversion.draw.__main__", tmp_path / "other.mlmodel")
    assert refused.code == 3
    assert f"takes images of {takes}; drawings become images of 28x28 GRAYSCALE" in refused.error
