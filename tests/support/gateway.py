"""A small HTTP server in this process: a gateway before a tracking server, with TLS and a login, or a proxy to it."""

from __future__ import annotations

import base64
import ssl
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socket import create_connection, socket
from typing import Self
from urllib.parse import urlsplit


class Gateway:
    """Listens on a port of 127.0.0.1 inside its context.

    What it is asked for it hands to a server, its `upstream`; without one it answers as an MLflow without records.
    It takes requests to any host, as a proxy does, and opens tunnels to its upstream.
    """

    def __init__(
        self,
        upstream: int | None = None,  # a port of 127.0.0.1
        *,
        tls: ssl.SSLContext | None = None,
        login: str | None = None,  # the value of the header Authorization, without which it answers 401
        status: int | None = None,  # with which it answers whatever it is asked
    ) -> None:
        self.upstream, self.login, self.status = upstream, login, status
        self.asked: list[str] = []  # targets, as they came
        self.logins: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gateway": self}))
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust it
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self.uri = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    gateway: Gateway
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _handle(self) -> None:
        gateway = self.gateway
        gateway.asked.append(self.path)
        gateway.logins.append(self.headers["Authorization"])
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if gateway.status:
            self._answer(gateway.status, b"")
        elif gateway.login and self.headers["Authorization"] != gateway.login:
            self._answer(401, b"")
        elif gateway.upstream is None:
            self._answer(200, b"{}")
        else:
            target = urlsplit(self.path)
            connection = HTTPConnection("127.0.0.1", gateway.upstream, timeout=60)
            kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            place = f"{target.path}?{target.query}" if target.query else target.path
            connection.request(self.command, place, body, kept | {"Host": f"127.0.0.1:{gateway.upstream}"})
            found = connection.getresponse()
            self._answer(found.status, found.read(), found.headers["Content-Type"])
            connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def do_CONNECT(self) -> None:
        self.gateway.asked.append(self.path)
        if self.gateway.status:
            self._answer(self.gateway.status, b"")
            return
        with create_connection(("127.0.0.1", self.gateway.upstream or 0)) as other:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(other, self.connection), daemon=True)
            back.start()
            _pump(self.connection, other)
        self.close_connection = True

    def _answer(self, status: int, body: bytes, kind: str | None = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _pump(source: socket, target: socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
    except OSError:
        pass  # either has closed


def basic(user: str, password: str) -> str:
    """The header Authorization of a login."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def write_certificate(file: Path) -> None:
    """Write a self-signed certificate of 127.0.0.1, and its key, into one file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))


def tls_context(certificate: Path, *, clients: Path | None = None) -> ssl.SSLContext:
    """TLS of a server with that certificate; `clients`: it demands one that this file holds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
