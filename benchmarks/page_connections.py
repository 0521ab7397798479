"""Measure the drawing page's server with many browsers at once, and with one that stays connected.

Run: python benchmarks/page_connections.py --connections 1000

An untrained chollet network is converted and served. Each connection sends one drawing, all at once, then all
connections stay open while each sends one more at a random moment within ten seconds, as people do. The goals: no
error, 99 of 100 answers within a second, and half of those on one keep-alive connection within 10 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import architectures
from architectures.fields import Whole
from conversion.coreml.convert import convert
from conversion.coreml.facts import FileFacts
from conversion.coreml.writing import write
from experiments.classifier import as_classifier

GOLDEN = Path(__file__).parents[1] / "ios/DigitKit/Tests/DigitKitTests/golden-drawings.json"
SPREAD_SECONDS = 10.0
ASKED = 500  # times, by the one connection


@contextmanager
def served() -> Iterator[int]:
    """Port of a page that a file of untrained weights answers on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "Digits.mlmodel")
        facts = FileFacts(tuple("0123456789"), "mnist5k", "d" * 64, "chollet", "a" * 32, "", "c" * 40, 0.0)
        write(convert(as_classifier(architectures.build("chollet", (28, 28, 1), 10)), facts), path)
        command = [sys.executable, "-m", "conversion.draw", str(path), "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                yield int(json.loads(process.stdout.readline())["address"].split(":")[-1].strip("/"))
            finally:
                process.send_signal(signal.SIGINT)


def requests(port: int) -> list[bytes]:
    """Golden drawings as requests."""
    made = []
    for entry in json.loads(GOLDEN.read_text())["drawings"]:
        body = json.dumps({"pad": entry["pad"], "strokes": entry["strokes"]}).encode()
        head = f"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


class Browser:
    """One connection, made when it first asks."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> float:
        """Send a request; returns the seconds until the answer was there, connecting included."""
        started = time.perf_counter()
        head = b""
        if self.reader and self.writer:  # kept alive for five seconds: closed, a browser connects anew
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                self.writer.write(request)
                head = await self.reader.readuntil(b"\r\n\r\n")
        if not head:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.writer.write(request)
            head = await self.reader.readuntil(b"\r\n\r\n")
        text = head.decode().lower()
        if " 200 " not in text.splitlines()[0]:
            raise ConnectionError(text.splitlines()[0])
        await self.reader.readexactly(int(text.partition("content-length:")[2].split()[0]))
        return time.perf_counter() - started

    async def ask_later(self, request: bytes) -> float:
        await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))
        return await self.ask(request)


def said(what: str, answers: list[float | BaseException]) -> str:
    """A line of figures."""
    times = [1e3 * each for each in answers if isinstance(each, float)]
    errors = [each for each in answers if not isinstance(each, float)]
    detail = f" ({errors[0]!r})" if errors else ""
    p50, p99, most = (np.percentile(times, share) for share in (50, 99, 100)) if times else (np.nan,) * 3
    return f"{what}: {len(errors)} errors{detail}, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {most:.1f} ms"


async def measure(port: int, connections: int) -> None:
    drawings = requests(port)
    one = Browser(port)
    for drawing in drawings[:20]:
        await one.ask(drawing)
    print(said("one connection, kept alive", [await one.ask(random.choice(drawings)) for _ in range(ASKED)]))
    many = [Browser(port) for _ in range(connections)]
    for what, ask in (("at once", Browser.ask), (f"within {SPREAD_SECONDS:g} s", Browser.ask_later)):
        answers = await asyncio.gather(*(ask(each, random.choice(drawings)) for each in many), return_exceptions=True)
        print(said(f"{connections:,} connections, one drawing each {what}", answers), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=Whole(1, 20_000), default=1000)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    random.seed(0)
    with served() as port:
        asyncio.run(measure(port, arguments.connections))


if __name__ == "__main__":
    main()
