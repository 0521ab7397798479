"""Damage real Core ML files and load them, for a while.  Run: python -m tests.conversion.fuzz.fuzz --seconds 600

A finding is whatever is not one clear line of CorruptModel or NotCheckable, or an answer: another error, a crash of the
process, a file that takes longer than SECONDS_PER_FILE or more memory than MEMORY_BYTES, a file written elsewhere. Each
is kept in the folder of findings. A file that ends at a place in the code where none ended before is damaged further.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from random import Random

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one processor; threads' stacks would count as memory, too

import numpy as np

from architectures.errors import UsageError
from conversion.description import describe
from conversion.runtime import CorruptModel, NotCheckable, limits, load, load_model
from conversion.runtime import __file__ as runtime
from tests.conversion.fuzz.mutate import mutated
from tests.conversion.fuzz.sample import Sample, read

HERE = Path(__file__).parent
SEEDS = HERE / "seeds"
BROKE = HERE / "broke"  # what once was a finding
SECONDS_PER_FILE = 20  # of one processor; the limits of conversion.runtime.limits allow some seconds of arithmetic
WAITED_PER_FILE = 20 * SECONDS_PER_FILE  # for one that waits instead, on however busy a machine
MEMORY_BYTES = 8 * limits.MAX_TOTAL_ELEMENTS  # beyond what the process takes at rest; those limits allow half of that
MAX_POOL = 3000  # samples that are damaged further
LARGE_IMAGE = 2**22  # pixels; it is executed once, others twice
CURRENT = "current.zip"  # the sample at work, for when it kills the process
WRITTEN = {CURRENT, "sample.mlmodel", "sample.mlpackage"}


def outcome(path: Path) -> str:
    """What loading, executing and describing a file end in: "loaded", or the error and the place where it came from.

    Raises:
        AssertionError: if the error is not one line that names the file.
        MemoryError: if there was none left.
        Exception: whatever else the executors let through.
    """
    return "; ".join(_outcome(path, execute) for execute in (_classified, _by_features, _described))


def _classified(path: Path) -> str:
    """Load and execute a classifier of images."""
    executable = load(path)
    image = executable.interface.input
    count = 2 if image.height * image.width < LARGE_IMAGE else 1
    answer = executable.probabilities(np.zeros((count, image.height, image.width, image.channels), np.uint8))
    assert answer.shape == (count, len(executable.interface.labels))
    return " ".join(sorted(set(executable.interface.layers)))


def _by_features(path: Path) -> str:
    """Load and execute a file of any kind, with blank inputs."""
    model = load_model(path)
    blank: dict[str, object] = {"double": 0.5, "int64": 1, "string": "a", "dictionary": {"a": 1.0}}
    given = {
        each.name: blank.get(each.kind, np.zeros(each.shape, np.uint8 if each.kind == "image" else np.float64))
        for each in model.inputs
        if each.shape or each.kind in blank
    }
    try:
        answer = model.predict(given)
    except UsageError as error:  # an array whose shape the file does not state
        return f"asks for more: {type(error).__name__}"
    assert set(answer) <= {each.name for each in model.outputs}
    return f"{model.kind} {len(answer)}"


def _described(path: Path) -> str:
    """Say what a file is."""
    found = describe(path)
    json.dumps(found.as_json())
    assert sum(part.bytes for part in found.parts) == found.size_bytes
    return f"{found.kind} {len(found.not_executable)}"


def _outcome(path: Path, execute: Callable[[Path], str]) -> str:
    try:
        return f"loaded {execute(path)}"
    except (CorruptModel, NotCheckable) as error:
        text = str(error)
        assert str(path) in text, f"does not name the file: {text}"
        assert text.isprintable(), f"no line that can be printed: {text!r}"
        assert len(text) < 1100, f"a line of {len(text)} characters"
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
            if isinstance(cause, MemoryError):
                raise cause from None
        return f"{type(error).__name__} {_place(cause)}"


def _place(error: BaseException) -> str:
    """The last line of the executors that an error passed through."""
    folder = str(Path(runtime).parent)
    lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    ours = [line for line in lines if line.startswith(folder)] or lines
    return f"{type(error).__name__} {ours[-1]}"


def seeds() -> list[Sample]:
    """The right files, and those that once were findings."""
    return [read(path) for folder in (SEEDS, BROKE) for path in sorted(folder.glob("*.zip"))]


def damaged(pool: list[Sample], random: Random) -> Iterator[Sample]:
    """Samples without end, half of them made of the seeds that the pool began with, which may grow meanwhile."""
    first = list(pool)
    while True:
        sample = random.choice(first if random.random() < 0.5 else pool)
        alike = [other for other in random.choices(pool, k=4) if (other.manifest is None) == (sample.manifest is None)]
        yield mutated(sample, (alike or [sample])[0], random)


@dataclass
class Findings:
    """The folder of findings: one file for each place in the code."""

    folder: Path
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample, what: str) -> None:
        self.seen[what] += 1
        if self.seen[what] == 1:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "_", what)[-80:].strip("_")
            sample.keep(self.folder / f"{name}.zip")
            print(f"found: {what}: {self.folder / name}.zip", flush=True)


OUTCOMES = ("loaded", "CorruptModel", "NotCheckable", "found")


def _work(folder: Path, seed: int, counts: np.ndarray, findings: Findings, until: float) -> None:
    """One process: fuzz until the time is over, or a file kills it."""
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kills in (signal.SIGALRM, signal.SIGPROF):  # whatever the process is in
        signal.signal(kills, signal.SIG_DFL)
    random, pool, known = Random(seed), seeds(), set()
    for sample in damaged(pool, random):
        if time.monotonic() > until:
            return
        path = sample.write(folder)
        sample.keep(folder / CURRENT)
        signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_FILE)
        signal.setitimer(signal.ITIMER_REAL, WAITED_PER_FILE)
        try:
            found = outcome(path)
        except Exception as error:
            found = f"found {_place(error)}: {' '.join(str(error).split())[:100]}"
            findings.add(sample, found)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        counts[OUTCOMES.index(found.split()[0])] += 1
        if found not in known and len(pool) < MAX_POOL:
            known.add(found)
            pool.append(sample)


def fuzz(seconds: float, seed: int, folder: Path) -> int:
    """Fuzz for so long, in a process that is replaced when a file kills it; returns the number of findings."""
    counts = np.frombuffer(mmap(-1, 8 * len(OUTCOMES)), np.int64)  # shared with the processes
    findings, start = Findings(folder), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        while time.monotonic() < start + seconds:
            child = os.fork()
            if not child:
                _work(Path(name), seed, counts, findings, start + seconds)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                counts[OUTCOMES.index("found")] += 1
                findings.add(read(Path(name, CURRENT)), f"killed by {signal.Signals(os.WTERMSIG(status)).name} {seed}")
            seed += 1
        if left := sorted({path.name for path in Path(name).iterdir()} - WRITTEN):
            raise AssertionError(f"files were written: {left}")
    total, passed = int(counts.sum()), time.monotonic() - start
    shares = ", ".join(f"{count:,} {outcome}" for outcome, count in zip(OUTCOMES, counts.tolist(), strict=True))
    print(f"{total:,} files in {passed:.0f} s, {total / passed:.0f} a second: {shares}", flush=True)
    return int(counts[OUTCOMES.index("found")])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conversion.fuzz.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    parser.add_argument(
        "--found", type=Path, default=Path("fuzz-found"), help="folder of findings (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    return int(bool(fuzz(given.seconds, given.seed, given.found)))


if __name__ == "__main__":
    sys.exit(main())
