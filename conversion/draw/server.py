"""The server of the drawing page: one page and three JSON endpoints, for browsers on this machine only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import resource
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from threadpoolctl import threadpool_limits
from uvicorn.protocols.http.h11_impl import H11Protocol

from architectures.command import one_line
from architectures.display import say
from conversion.draw.collection import Collection
from conversion.draw.reader import Reader
from conversion.draw.request import MAX_BODY_BYTES, BadRequest, TooLarge, parse_correction, parse_drawing
from experiments.views.page import render

LOOPBACK = "127.0.0.1"
REQUEST_SECONDS = 10  # from its first byte, or from the connection, until a request is complete
DESCRIPTORS = 8_192  # most open connections and files, if the system allows this many
HEADERS = {
    # The page contains its style and script, and only talks to this server.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def bind(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1; port 0 selects a free one. Raise OSError if the port is taken."""
    # asyncio sets TCP_NODELAY only on sockets with an explicit TCP protocol; without it, each keep-alive response
    # waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()  # now, because clients may connect as soon as they know the address
    except OSError:
        listener.close()
        raise
    return listener


class Connection(H11Protocol):
    """A browser's connection: closed if a request is not complete in time, and at once when the server ends."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.transport.close()

    def _watch(self) -> None:
        """Start the timer of a request, or stop it once the request is complete."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _forget(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


def server(app: ASGIApp) -> uvicorn.Server:
    """Return the web server; its log is off, errors are reported in one line."""
    return uvicorn.Server(
        uvicorn.Config(
            app, http=Connection, lifespan="off", log_level="critical", server_header=False, timeout_graceful_shutdown=1
        )
    )


def serve_until_interrupted(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until Ctrl-C."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))

    running, told = server(app), set[str]()

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report an error of the loop itself, such as a lack of descriptors: once, in one line."""
        error = context.get("exception")
        text = f"{context['message']}: {one_line(error)}" if error else str(context["message"])
        if text not in told and not running.should_exit:
            told.add(text)
            say(f"warning: {text}", file=sys.stderr, flush=True)

    async def answer() -> None:
        asyncio.get_running_loop().set_exception_handler(tell)
        await running.serve(sockets=[listener])

    with threadpool_limits(1, user_api="blas"):  # for one image, threads wait longer than they compute
        asyncio.run(answer())


def application(reader: Reader, *, port: int, run_link: str | None, collection: Collection | None) -> ASGIApp:
    """Return the application: the page and its endpoints.

    Args:
        port: of the server, which browsers send in Host and Origin.
        run_link: address of the file's run in the MLflow UI, if the file names a run.
        collection: for corrected drawings; None hides the buttons.
    """

    def model(request: Request) -> Response:
        return JSONResponse(_facts(reader, run_link, collection))

    async def read(request: Request) -> Response:
        drawing = parse_drawing(await _body(request))
        async with reading:  # more threads than processors would only compete
            answer = await run_in_threadpool(reader.read, drawing)
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
            kept = await run_in_threadpool(len, collection)
        except OSError as error:
            text = f"{collection.folder} cannot be written: {error.strerror}."
            return JSONResponse({"error": text}, status_code=507)
        return JSONResponse({"label": correction.label, "kept": kept})

    def refuse(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=413 if isinstance(error, TooLarge) else 400)

    def refuse_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)

    page, reading = render("drawing", title="Draw a digit"), asyncio.Semaphore(os.cpu_count() or 1)
    app = Starlette(
        routes=[
            Route("/", lambda request: HTMLResponse(page, headers=HEADERS)),
            Route("/model", model),
            Route("/read", read, methods=["POST"]),
            Route("/keep", keep, methods=["POST"]),
        ],
        exception_handlers={BadRequest: refuse, ClientDisconnect: refuse, HTTPException: refuse_http},
    )
    return Guard(app, port)


@dataclass(frozen=True)
class Guard:
    """Accepts only requests from the page itself: not from other sites, nor under other host names."""

    app: ASGIApp
    port: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        hosts = {f"{name}:{self.port}" for name in (LOOPBACK, "localhost")}
        if headers.get("host") not in hosts:  # a name that an attacker points at 127.0.0.1
            return await _refuse(403, "Foreign Host.")(scope, receive, send)
        if "origin" in headers and headers["origin"] not in {f"http://{host}" for host in hosts}:
            return await _refuse(403, "Foreign Origin.")(scope, receive, send)
        media_type = headers.get("content-type", "").partition(";")[0].strip()
        if scope["method"] == "POST" and media_type != "application/json":
            return await _refuse(415, "Send application/json.")(scope, receive, send)
        length = int(headers.get("content-length", "0"))  # h11 refuses anything but a number
        if length > MAX_BODY_BYTES:
            return await _refuse(413, str(TooLarge.of_bytes(f"{length:,}")))(scope, receive, send)
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:  # the server stops, and the connection is already closed
            pass
        except Exception as error:  # the answer was 500
            say(f"error: {scope['path']!r}: {one_line(error)}", file=sys.stderr, flush=True)


def _refuse(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status, headers={"Connection": "close"})


async def _body(request: Request) -> bytes:
    """Return a request's body; raise TooLarge if one without a declared length exceeds the limit."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge.of_bytes(f"more than {MAX_BODY_BYTES:,}")
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
