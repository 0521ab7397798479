"""The state of a training after an epoch, from which another process continues with the same bits.

It consists of the variables that an epoch reads and writes (weights, averages, the optimizer's, the random state of
layers), the random state of shuffling, the best epoch with its weights and probabilities, and the metrics of each
epoch. Augmentation depends only on the seed and the step, and the schedule on the optimizer's count of steps. A
training whose graph has other state, such as TensorFlow's own random numbers, is not saved.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from architectures.errors import ProjectError
from architectures.scratch import scratch_beside
from experiments.config import EpochMetrics

if TYPE_CHECKING:
    import keras

NAME = b"pocketnets training state 2"  # with the number of the format; first in the file, before its SHA-256
SHARE = 0.02  # of a training's time that saving its state may take
FIRST_SECONDS = 0.02  # assumed minimum duration of the first write; a large state: its size / BYTES_A_SECOND
BYTES_A_SECOND = 1e8


class Unusable(ProjectError):
    """A saved state that this training cannot continue from."""


@dataclass(frozen=True)
class Keeping:
    """How the state of a training is saved, and the state to continue from."""

    key: str  # digest of everything that determines the training's bits
    write: Callable[[bytes], None]  # raises OSError if it fails
    found: bytes | None = None  # the state of an earlier attempt
    on_resumed: Callable[[Sequence[EpochMetrics]], None] = lambda _: None  # called with the epochs not trained again
    on_refused: Callable[[str], None] = lambda _: None  # called with the reason why `found` cannot be resumed
    on_not_kept: Callable[[str], None] = lambda _: None  # called with the reason why nothing is saved from here on
    always: tuple[int, ...] = ()  # epochs after which it is saved at any cost


@dataclass(frozen=True)
class State:
    """The state of a training."""

    epochs: tuple[EpochMetrics, ...]
    began: tuple[int, ...]  # epochs that were the first of a process: their seconds include TensorFlow's tracing
    best_epoch: int
    shuffle: dict[str, Any]  # of NumPy's generator
    variables: list[np.ndarray]
    best_weights: list[np.ndarray]
    best_probabilities: np.ndarray  # (validation images, num_classes)
    resampled: np.ndarray  # of the epochs: see `experiments.evaluation.expected`

    @property
    def best(self) -> EpochMetrics:
        return self.epochs[self.best_epoch - 1]

    def packed(self, key: str) -> bytes:
        """Return a line with format and SHA-256 of the rest, a line of JSON, and the arrays in NumPy's format."""
        header = {
            "key": key,
            "epochs": [asdict(each) for each in self.epochs],
            "began": self.began,
            "best_epoch": self.best_epoch,
            "shuffle": self.shuffle,
            "variables": len(self.variables),
            "best_weights": len(self.best_weights),
        }
        made = io.BytesIO()
        made.write(json.dumps(header).encode() + b"\n")
        for array in (*self.variables, *self.best_weights, self.best_probabilities, self.resampled):
            np.save(made, array, allow_pickle=False)
        rest = made.getbuffer()
        return b"".join((NAME, b" ", hashlib.sha256(rest).hexdigest().encode(), b"\n", rest))


def check_whole(content: bytes) -> bytes:
    """Return a saved state without its first line, if it is intact.

    Raises:
        Unusable: if it is damaged, or of another format.
    """
    first, _, rest = content.partition(b"\n")
    name, _, digest = first.rpartition(b" ")
    if name != NAME:
        raise Unusable("it is not a training state of this version")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise Unusable("it is damaged")
    return rest


def unpack_state(content: bytes, key: str) -> State:
    """Read what `State.packed` has written.

    Raises:
        Unusable: for anything else, or another key.
    """
    line, _, rest = check_whole(content).partition(b"\n")
    arrays = io.BytesIO(rest)
    try:
        header = json.loads(line)
        if header.pop("key") != key:
            raise Unusable("it is of another configuration, of other data or code, or of another kind of machine")
        header["epochs"] = tuple(EpochMetrics(**each) for each in header["epochs"])
        header["began"] = tuple(header["began"])
        for name in ("variables", "best_weights"):
            header[name] = [np.load(arrays, allow_pickle=False) for _ in range(header[name])]
        for name in ("best_probabilities", "resampled"):
            header[name] = np.load(arrays, allow_pickle=False)
        return State(**header)
    except (ValueError, TypeError, KeyError, AttributeError, EOFError) as error:
        raise Unusable(f"it cannot be read: {type(error).__name__}: {error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a saved state to its place, completely or not at all."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(path.parent) as folder:  # the study's next write removes the files of a killed process
        with (folder / path.name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.parent.mkdir(exist_ok=True)
        (folder / path.name).replace(path)


class Keeper:
    """Saves the state of one training as often as this is cheap, and resumes from a saved one."""

    def __init__(
        self, keeping: Keeping | None, variables: Sequence[keras.Variable], shuffle: np.random.Generator
    ) -> None:
        """Prepare to save the `variables` of an epoch's graph and the state of `shuffle`; None: save nothing."""
        self.began: tuple[int, ...] = (1,)
        self._keeping, self._variables, self._shuffle = keeping, variables, shuffle
        self._complete: bool | None = None  # whether the variables are the graph's only state; None: not known yet
        size = sum(4 * int(np.prod(variable.shape)) for variable in variables)
        self._since, self._took = time.perf_counter(), max(FIRST_SECONDS, size / BYTES_A_SECOND)

    def resume(self) -> State | None:
        """Restore variables and shuffling from an earlier attempt's state, and return it; None: nothing is changed."""
        if self._keeping is None or self._keeping.found is None:
            return None
        try:
            state = unpack_state(self._keeping.found, self._keeping.key)
            now = [variable.numpy() for variable in self._variables]
            if [_form(each) for each in now] != [_form(each) for each in state.variables]:
                raise Unusable("its variables are different")
        except Unusable as error:
            self._keeping.on_refused(str(error))
            return None
        for variable, before, value in zip(self._variables, now, state.variables, strict=True):
            variable.assign(value.view(before.dtype))  # NumPy reads bfloat16 as two raw bytes
        self._shuffle.bit_generator.state = state.shuffle
        self.began = (*state.began, len(state.epochs) + 1)
        self._keeping.on_resumed(state.epochs)
        return state

    def keep(
        self,
        run_epoch: Any,  # the graph, a tf.function that has been traced
        *,
        epochs: Sequence[EpochMetrics],
        best_epoch: int,
        best_weights: list[np.ndarray],
        best_probabilities: np.ndarray,
        resampled: np.ndarray,
    ) -> None:
        """Save the state, unless the last write was too recent for its cost."""
        started = time.perf_counter()
        if self._keeping is None:
            return
        if len(epochs) not in self._keeping.always and SHARE * (started - self._since) < self._took:
            return
        try:
            if self._complete is None:
                self._complete = holds_nothing_else(run_epoch.get_concrete_function(), self._variables)
            if not self._complete:
                raise Unusable("the network or its loss has state other than its variables, such as random numbers")
            state = State(
                tuple(epochs),
                self.began,
                best_epoch,
                dict(self._shuffle.bit_generator.state),
                [variable.numpy() for variable in self._variables],
                best_weights,
                best_probabilities,
                resampled,
            )
            self._keeping.write(state.packed(self._keeping.key))
        except ConnectionError:
            raise  # the receiver is gone
        except (OSError, Unusable) as error:  # such as a full disk: training continues without saving
            self._keeping.on_not_kept(str(error))
            self._keeping = None
        self._since, self._took = started, time.perf_counter() - started


def _form(array: np.ndarray) -> tuple[tuple[int, ...], int]:
    return array.shape, array.dtype.itemsize


def holds_nothing_else(graph: Any, variables: Sequence[keras.Variable]) -> bool:
    """Return whether a traced function has no state except these variables: no other resource, no random numbers."""
    import tensorflow as tf

    known = {id(variable.value.handle) for variable in variables}
    if any(one.dtype == tf.resource and id(one) not in known for one in graph.captured_inputs):
        return False
    definition = graph.graph.as_graph_def()
    nodes = [definition.node, *(function.node_def for function in definition.library.function)]
    return not any("seed2" in node.attr for several in nodes for node in several)  # of stateful random operations
