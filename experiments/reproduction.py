"""Train a recorded run again, from its record alone, and compare every figure."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from architectures.display import say
from architectures.errors import ProjectError, UsageError
from architectures.quiet import RELIED_ON
from experiments.config import EpochMetrics
from experiments.teacher import NoTeacher, provide
from experiments.tracking import RunRecord, Tracker, code_tags, environment
from experiments.training.messages import Failed, Request, Retrained
from experiments.training.precision import Gpu
from experiments.training.worker import Worker, WorkerEnded
from experiments.views.tables import print_cells

COMPARED = ("loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy")  # of each epoch: all but its time
SIZES = ("parameters", "macs")
SHOWN = 12  # differences in the table
# Packages whose version may change the result of a training; others only keep records.
DECISIVE = ("version.tensorflow", "version.keras", "version.numpy", "version.python")
BYSTANDERS = ("version.mlflow", "version.optuna", "version.coremltools")
COMMIT = "mlflow.source.git.commit"


class NotReproducible(ProjectError):
    """There is nothing to compare, or something that the run needs is missing. Exit code 3."""

    exit_code = 3


@dataclass(frozen=True)
class Difference:
    """A figure that differs."""

    what: str
    epoch: int | None  # None for a figure of the whole run
    recorded: float | str | None
    found: float | str | None


@dataclass(frozen=True)
class Condition:
    """A condition that differs from the record; `what` begins with its kind."""

    what: str  # data, code, commit (of the same code), plugin NAME, package NAME, setting NAME, gpu, processor
    recorded: str
    here: str


@dataclass(frozen=True)
class Reproduction:
    """The result of retraining a run."""

    run_id: str
    run: str
    answered_by: str | None  # the run that trained this configuration, if this one got its results
    trained: bool  # False if the data differ from the run's: nothing could be compared
    epochs: int  # compared
    weights_compared: bool  # False for a run that ended before it had final weights
    differences: tuple[Difference, ...]
    conditions: tuple[Condition, ...]
    threads: int
    seconds: float

    @property
    def identical(self) -> bool:
        return self.trained and not self.differences

    @property
    def likely_cause(self) -> str | None:
        """The likely reasons why the figures differ, the most likely first."""
        if self.identical:
            return None
        harmless = {"commit", *(key.replace("version.", "package ") for key in BYSTANDERS)}
        decisive = [c.what for c in self.conditions if c.what not in harmless]
        if decisive:
            return "other " + ", ".join(decisive)
        return (
            "none that is recorded: data, code, plugins, versions, processor and threads are the same. The record may "
            "have been changed, or a plugin or data set may depend on chance, time or files of its own"
        )

    def as_json(self) -> dict[str, object]:
        verdict = {"verdict": "identical" if self.identical else "differs", "likely_cause": self.likely_cause}
        return verdict | asdict(self)


def reproduce(tracker: Tracker, run_id: str, *, plugins: tuple[str, ...] = ()) -> Reproduction:
    """Rebuild a run's data and configuration from its record, train again, and compare.

    Args:
        run_id: the run's id, a prefix of it, or its name; a pruned or interrupted run is compared up to its last epoch.
        plugins: modules and files in place of the recorded ones, which may have moved.

    Raises:
        UsageError: for an unknown run.
        NotReproducible: for a run without anything to compare, or if its data set, plugin or teacher is missing.
        ProjectError: if training fails.
    """
    started = time.perf_counter()
    record = tracker.runs.get(run_id)
    run_id = record.run_id
    _check_comparable(record)
    recorded = tracker.runs.epochs(run_id)
    if not recorded:
        raise NotReproducible(
            f"Run {run_id} ({record.name}) ended before its first epoch: there is nothing to compare."
        )
    origin = _origin(tracker, record)
    known = _recorded_plugins(origin)
    request = Request(
        config=record.config,
        dataset_digest=record.tags["dataset_digest"],
        threads=int(origin.tags["threads"]),
        plugins=plugins or tuple(known),
        settings=tuple((key[8:], value) for key, value in origin.tags.items() if key.startswith("setting.")),
        epochs=None if record.status == "FINISHED" else recorded[-1].epoch,
    )
    if request.config.teacher:
        try:
            provide(tracker, request.config.teacher)
        except NoTeacher as error:
            raise NotReproducible(f"Run {run_id} ({record.name}) cannot be trained again: {error}") from error
    say(
        f"training {record.name} again: {request.config.dataset}, {len(recorded)} epochs, {request.threads} "
        f"thread{'s' if request.threads > 1 else ''}, {request.config.precision}",
        file=sys.stderr,
    )
    found = _train_again(record, request, len(recorded))
    conditions = _conditions(origin, request, found.gpu)
    trained = found.dataset_digest == request.dataset_digest
    if not trained:
        other = Condition("data", request.dataset_digest, found.dataset_digest)
        conditions = (other, *conditions)
    return Reproduction(
        run_id=run_id,
        run=record.name,
        answered_by=origin.run_id if origin is not record else None,
        trained=trained,
        epochs=len(recorded) if trained else 0,
        weights_compared=trained and "weights_sha256" in record.tags,
        differences=_differences(record, recorded, found) if trained else (),
        conditions=conditions,
        threads=request.threads,
        seconds=time.perf_counter() - started,
    )


def _train_again(record: RunRecord, request: Request, epochs: int) -> Retrained:
    """Train in a worker process, and show each epoch."""
    worker = Worker("experiments.training.retraining:serve_request", request, settings=request.settings)
    try:
        while True:
            match worker.receive():
                case EpochMetrics(epoch=epoch, val_accuracy=accuracy):
                    say(f"epoch {epoch} of {epochs}: val_accuracy {accuracy:.4f}", file=sys.stderr, flush=True)
                case Retrained() as found:
                    return found
                case Failed(None, message):
                    raise NotReproducible(
                        f"Run {record.run_id} ({record.name}) cannot be trained here: {message} A plugin that has "
                        f"moved, or that the run did not record, is given by --plugin."
                    )
                case Failed(_, message):
                    raise ProjectError(message)
    except WorkerEnded as ended:
        raise ProjectError(f"The process that trains ended ({ended}).") from None
    finally:
        worker.kill()


def _check_comparable(record: RunRecord) -> None:
    """Raise NotReproducible for a run that was not trained, or whose end cannot be compared."""
    if record.tags.get("sweep") == "parent":
        raise NotReproducible(
            f"Run {record.run_id} is the parent run of the sweep {record.name}: name one of its trials."
        )
    if "architecture" not in record.params or not {"dataset_digest", "threads"} <= record.tags.keys():
        raise NotReproducible(f"Run {record.run_id} ({record.name}) is not a training run of this project.")
    outcome = record.tags.get("outcome")
    why = {
        "FAILED": "it failed; traceback.txt among its artifacts says why",
        "RUNNING": "it is still running",
        "SCHEDULED": "it has not started",
    }.get(record.status) or ("its file was too large, so it was never trained" if outcome == "infeasible" else None)
    if why:
        raise NotReproducible(f"Run {record.run_id} ({record.name}) has nothing to compare: {why}.")


def _origin(tracker: Tracker, record: RunRecord) -> RunRecord:
    """Return the run that trained a configuration: for a duplicate, the run whose results it got."""
    if "duplicate_of" in record.tags:
        with contextlib.suppress(UsageError):  # permanently deleted: only this run's own record remains
            return tracker.runs.get(record.tags["duplicate_of"])
    return record


def _recorded_plugins(record: RunRecord) -> dict[str, str]:
    """Return the recorded plugins by name, with the SHA-256 of their code."""
    return json.loads(record.tags.get("plugins", "{}"))


def _conditions(record: RunRecord, request: Request, gpu: Gpu | None) -> tuple[Condition, ...]:
    """Return the differences from the run's environment, except the data; the most likely cause first."""
    here = environment(request.threads, gpu, request.plugins)
    there, now = record.tags, code_tags()
    found, harmless = [], []
    code = "source_sha256" if "source_sha256" in there else COMMIT
    if there.get(code) != now.get(code):
        found.append(Condition("code", _code(there), _code(now)))
    elif there.get(COMMIT) != now.get(COMMIT):  # a change outside of the training code
        harmless.append(Condition("commit", _commit(there), _commit(now)))
    known = _recorded_plugins(record)
    loaded = dict(here.plugins)
    if sorted(known.values()) != sorted(loaded.values()):
        for name in known | loaded:
            if known.get(name) != loaded.get(name):
                found.append(Condition(f"plugin {name}", _short(known.get(name)), _short(loaded.get(name))))
    for key in sorted(there.keys() & now.keys()):  # versions that both have
        if key.startswith("plugin.") and there[key] != now[key]:
            found.append(Condition(f"plugin {key[7:]}", _short(there[key]), _short(now[key])))
    packages = [key for key in there.keys() | now.keys() if key.startswith("version.")]
    packages.sort(key=lambda key: (key in BYSTANDERS, key not in DECISIVE, key))
    different = [key for key in packages if there.get(key) != now.get(key)]
    changed = {key: Condition(f"package {key[8:]}", there.get(key, "none"), now.get(key, "none")) for key in different}
    found += [changed[key] for key in different if key not in BYSTANDERS]
    for name, value in here.settings:
        if name not in dict(request.settings):  # recorded ones are set for the retraining
            found.append(Condition(f"setting {name}", "none", value))
    for name, value in request.settings:
        if name in RELIED_ON:  # the same for all processes that are started here
            found.append(Condition(f"setting {name}", value, dict(here.settings).get(name, RELIED_ON[name][1])))
    if there.get("gpu") != here.gpu:
        found.append(Condition("gpu", there.get("gpu", "none"), here.gpu or "none"))
    if there.get("processor") != here.processor:
        found.append(Condition("processor", there.get("processor", "unknown"), here.processor))
    harmless += [changed[key] for key in different if key in BYSTANDERS]
    return (*found, *harmless)


def _code(tags: Mapping[str, str]) -> str:
    dirty = " with uncommitted changes" if tags.get("source_dirty") == "True" else ""
    return f"commit {_commit(tags)}{dirty}, SHA-256 {_short(tags.get('source_sha256'))}"


def _commit(tags: Mapping[str, str]) -> str:
    return tags.get(COMMIT, "unknown")[:12]


def _short(digest: str | None) -> str:
    return f"{digest[:12]}..." if digest else "none"


def _differences(record: RunRecord, recorded: Sequence[EpochMetrics], found: Retrained) -> tuple[Difference, ...]:
    """Return all figures that differ, in the order of training."""
    different: list[Difference] = []
    for key in SIZES:
        before, now = record.metrics.get(key), getattr(found.size, key)
        if before is not None and before != now:
            different.append(Difference(key, None, before, now))
    before_by, now_by = ({metrics.epoch: metrics for metrics in epochs} for epochs in (recorded, found.epochs))
    for epoch in sorted(before_by | now_by):
        for key in COMPARED:
            before, now = (getattr(by.get(epoch), key, None) for by in (before_by, now_by))
            if key == "val_balanced_accuracy" and before is None:
                continue  # an older record
            if before != now:
                different.append(Difference(key, epoch, before, now))
    weights = record.tags.get("weights_sha256")
    if weights is not None and weights != found.weights_sha256:
        different.append(Difference("weights_sha256", None, weights, found.weights_sha256))
    return tuple(different)


def show(result: Reproduction) -> None:
    """Print the verdict, and tables of what differs."""
    weights = " and the weights" if result.weights_compared else "; it has no final weights"
    epochs = f"{result.epochs} epoch{'s' if result.epochs != 1 else ''}"
    where = f"on {result.threads} thread{'s' if result.threads > 1 else ''}, {result.seconds:.0f} s"
    if result.identical:
        say(f"identical: {result.run}, {epochs}{weights}, {where}")
    elif not result.trained:
        say(f"differs: the data of {result.run} have changed; it was not trained again")
    else:
        count = len(result.differences)
        say(f"differs: {result.run}, {count} figure{'s' if count > 1 else ''} of {epochs}{weights}, {where}")
        lines = [
            [one.what, str(one.epoch or ""), _text(one.recorded), _text(one.found), _distance(one)]
            for one in result.differences[:SHOWN]
        ]
        more = count - len(lines)
        caption = f"{more} more: --json" if more else ""
        print_cells(["figure", "epoch", "recorded", "now", "difference"], lines, caption=caption)
    if result.answered_by:
        say(f"Its figures were measured in run {result.answered_by}, which is what was repeated.")
    if result.conditions:
        lines = [[one.what, one.recorded, one.here] for one in result.conditions]
        print_cells(["not the same", "of the run", "here"], lines)
    if result.likely_cause:
        say(f"Likely cause: {result.likely_cause}.")


def _text(value: float | str | None) -> str:
    if isinstance(value, str):
        return _short(value)
    return "none" if value is None else repr(value)


def _distance(one: Difference) -> str:
    if isinstance(one.recorded, str) or isinstance(one.found, str) or one.recorded is None or one.found is None:
        return ""
    return f"{one.found - one.recorded:+.1e}"


def reproduce_run(tracking_uri: str, run_id: str, *, plugins: tuple[str, ...] = ()) -> Reproduction:
    """As `reproduce`, for the store at a URI."""
    return reproduce(Tracker(tracking_uri, create=False), run_id, plugins=plugins)
