"""What tests of the drawing page share: its server, and files whose answer is known before anything is drawn."""

from __future__ import annotations

import json
import math
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.support.drafts import Draft


@contextmanager
def serving(file: Path, *arguments: object, descriptors: int | None = None) -> Iterator[dict]:
    """`python -m conversion.draw` on a file, as a person starts it and ends it; gives what --json printed.

    `descriptors`: how many the process may have once it serves.
    """
    command = [sys.executable, "-m", "conversion.draw", file, "--port", "0", "--json", *arguments]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        facts = json.loads(process.stdout.readline())
        if descriptors:
            wait_for_answer(facts["address"])
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        yield facts
    finally:
        process.send_signal(signal.SIGINT)  # Ctrl-C
        code = process.wait(timeout=20)
        process.stdout.close()
    assert code == 0


def wait_for_answer(address: str) -> None:
    with urllib.request.urlopen(address, timeout=20) as answer:
        answer.read()


def half_a_request(port: int, number: int) -> bytes:
    """A request that breaks off: before its first byte, in its line, in its headers, in its body."""
    line = b"POST /read HTTP/1.1\r\n"
    headers = f"Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n".encode()
    return (b"", line[:7], line + headers, line + headers + b"\r\n{")[number % 4]


def answering(file: Path, label: str, confidence: float, path: Path, *, threshold: str | None = None) -> Path:
    """A copy of an `.mlmodel` that sees `label` in every drawing, at one confidence; the others share the rest.

    Its last dense layer has no weights left, and for this label a bias of which softmax makes the confidence. Of its
    metadata the threshold is the one given, or none.
    """
    draft = Draft(file)
    labels = draft.executable.interface.labels
    dense = draft.layers[-2].name
    weights, bias = (draft.executable.weights[dense][field] for field in ("weights", "bias"))
    draft.replace(dense, "weights", np.zeros_like(weights))
    draft.replace(dense, "bias", np.zeros_like(bias))
    logit = math.log(confidence * (len(labels) - 1) / (1 - confidence))
    draft.stored(dense, "bias").floatValue[labels.index(label)] = logit
    metadata = draft.spec.description.metadata.userDefined
    metadata.pop("threshold", None)
    if threshold:
        metadata["threshold"] = threshold
    return draft.save(path)
