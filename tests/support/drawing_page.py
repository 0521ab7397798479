"""What tests of the drawing page share: its server, and files whose answer is known before anything is drawn."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.support.drafts import Draft


@contextmanager
def serving(file: Path, *arguments: object) -> Iterator[dict]:
    """`python -m conversion.draw` on a file, as a person starts it and ends it; gives what --json printed."""
    command = [sys.executable, "-m", "conversion.draw", file, "--port", "0", "--json", *arguments]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)  # Ctrl-C
        code = process.wait(timeout=20)
        process.stdout.close()
    assert code == 0


def answering(file: Path, label: str, confidence: float, path: Path) -> Path:
    """A copy of an `.mlmodel` that sees `label` in every drawing, at one confidence; the others share the rest.

    Its last dense layer has no weights left, and for this label a bias of which softmax makes the confidence.
    """
    draft = Draft(file)
    labels = draft.executable.interface.labels
    dense = draft.layers[-2].name
    weights, bias = (draft.executable.weights[dense][field] for field in ("weights", "bias"))
    draft.replace(dense, "weights", np.zeros_like(weights))
    draft.replace(dense, "bias", np.zeros_like(bias))
    logit = math.log(confidence * (len(labels) - 1) / (1 - confidence))
    draft.stored(dense, "bias").floatValue[labels.index(label)] = logit
    return draft.save(path)
