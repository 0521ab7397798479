"""The server of the drawing page: one static page, and three answers in JSON, for this machine's browsers alone."""

from __future__ import annotations

import base64
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from conversion.draw.collection import Collection
from conversion.draw.reader import Reader
from conversion.draw.request import MAX_BODY_BYTES, BadRequest, parse_correction, parse_drawing

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page.html")
TOO_LONG = f"The drawing is too long, it may take {MAX_BODY_BYTES:,} bytes: clear the pad."
HEADERS = {
    # The page holds its own style and script and talks to this server alone.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def bind(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1; port 0 takes a free one. Raises OSError where the port is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # now: whoever reads the address may ask at once
    except OSError:
        listener.close()
        raise
    return listener


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answer until Ctrl-C."""
    config = uvicorn.Config(
        app, http="h11", lifespan="off", log_level="error", server_header=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listener])


def application(reader: Reader, *, port: int, run_link: str | None, collection: Collection | None) -> ASGIApp:
    """The page and its answers.

    Args:
        reader: the file that answers.
        port: the one that the server listens on, which browsers name in Host and Origin.
        run_link: address of the file's run in the MLflow UI, where the file names a run.
        collection: where corrected drawings go; None hides the buttons.
    """

    def model(request: Request) -> Response:
        return JSONResponse(_facts(reader, run_link, collection))

    async def read(request: Request) -> Response:
        answer = await run_in_threadpool(reader.read, parse_drawing(await _body(request)))
        return JSONResponse(
            {
                "guesses": [asdict(guess) for guess in answer.guesses],
                "sure": answer.sure,
                "pixels": base64.b64encode(answer.image.tobytes()).decode(),
                "render_ms": answer.render_ms,
                "execute_ms": answer.execute_ms,
            }
        )

    async def keep(request: Request) -> Response:
        if collection is None:
            raise BadRequest("Drawings are kept only where the server was started with --collect FOLDER.")
        correction = parse_correction(await _body(request), reader.labels)
        try:
            await run_in_threadpool(collection.add, correction)
        except OSError as error:
            text = f"{collection.folder} cannot be written: {error.strerror}."
            return JSONResponse({"error": text}, status_code=507)
        return JSONResponse({"label": correction.label, "kept": await run_in_threadpool(len, collection)})

    def refuse(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=400)

    def refuse_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)

    app = Starlette(
        routes=[
            Route("/", lambda request: FileResponse(PAGE, headers=HEADERS)),
            Route("/model", model),
            Route("/read", read, methods=["POST"]),
            Route("/keep", keep, methods=["POST"]),
        ],
        exception_handlers={BadRequest: refuse, ClientDisconnect: refuse, HTTPException: refuse_http},
    )
    return Guard(app, port)


@dataclass(frozen=True)
class Guard:
    """Lets through what comes from the page itself: no other site's page, no other name for this address."""

    app: ASGIApp
    port: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        hosts = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        if headers.get("host") not in hosts:  # a name that an attacker points at 127.0.0.1
            return await _refuse(403, "Foreign Host.")(scope, receive, send)
        if "origin" in headers and headers["origin"] not in {f"http://{host}" for host in hosts}:
            return await _refuse(403, "Foreign Origin.")(scope, receive, send)
        media_type = headers.get("content-type", "").partition(";")[0].strip()
        if scope["method"] == "POST" and media_type != "application/json":
            return await _refuse(415, "Send application/json.")(scope, receive, send)
        if int(headers.get("content-length", "0")) > MAX_BODY_BYTES:  # h11 has refused what is no number
            return await _refuse(413, TOO_LONG)(scope, receive, send)
        return await self.app(scope, receive, send)


def _refuse(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status, headers={"Connection": "close"})


async def _body(request: Request) -> bytes:
    """A request's body; where one of no declared length exceeds the limit, the answer is 413."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, TOO_LONG)
    return body


def _facts(reader: Reader, run_link: str | None, collection: Collection | None) -> dict[str, object]:
    interface = reader.executable.interface
    told = interface.metadata.user_defined
    return {
        "file": str(reader.path),
        "format": interface.format,
        "bytes": interface.size_bytes,
        "labels": reader.labels,
        "run_id": told.get("run_id"),
        "run_link": run_link,
        "architecture": told.get("architecture"),
        "dataset": told.get("dataset"),
        "val_accuracy": told.get("val_accuracy"),
        "collection": str(collection.folder) if collection is not None else None,
        "kept": len(collection) if collection is not None else 0,
    }
