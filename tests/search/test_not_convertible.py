"""A network that coremltools cannot convert ends a sweep before any training, in one line that names its layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import optuna
import pytest
import tensorflow as tf
from keras import layers
from optuna.trial import TrialState

from architectures import registry
from architectures.errors import NotConvertible
from architectures.registry import Architecture
from benchmarks.no_training import NoTraining
from conversion.coreml.convertible import check_convertible
from experiments import datasets
from experiments.training.messages import Failed
from search.config import SweepConfig
from search.engines import WorkerFailed
from search.engines.messages import Built, Event, WorkerSetup
from search.engines.trainer import Trainer
from search.orchestrate import sweep
from tests.support.commands import Command
from tests.support.promotions import client_of

LAYER = r"cannot convert odd, its layer 'log_gamma\w*' \(LogGamma\): .*Lgamma"
PLUGIN = """
import keras
import tensorflow as tf
from architectures import register
class LogGamma(keras.layers.Layer):
    def call(self, x):
        return tf.math.lgamma(1.0 + x)
@register(default_filters=4)
def odd(input_shape, num_classes, *, filters, dropout):
    layers = [keras.Input(input_shape), LogGamma(), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(num_classes, activation="softmax")])
"""


class LogGamma(layers.Layer):
    def call(self, x):
        return tf.math.lgamma(1.0 + x)


def network(*inside: layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((28, 28, 1)), *inside, layers.Flatten(), layers.Dense(10, "softmax")])


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered architecture that cannot be converted, beside one that can."""
    held = {
        "even": Architecture("even", lambda *_, **__: network(), 8, 0.0, __file__),
        "odd": Architecture("odd", lambda *_, **__: network(LogGamma()), 8, 0.0, __file__),
    }
    registry.names()
    monkeypatch.setattr(registry._registry, "entries", held)


def trainer(*wanted: str) -> Trainer:
    made = object.__new__(Trainer)  # its start sets TensorFlow's threads, once in a process
    made._setup, made.gpu = WorkerSetup((), wanted, 1), None
    return made


def test_the_layer_is_named_without_converting_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotConvertible, match=LAYER):
        check_convertible(network(LogGamma()), "odd")
    monkeypatch.setattr("conversion.coreml.convertible.convert", lambda *_: pytest.fail("it was converted"))
    check_convertible(network(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()), "even", tested=True)


def test_what_only_its_arguments_make_unconvertible_is_found_before_training() -> None:
    with pytest.raises(NotConvertible, match="cannot convert odd"):
        check_convertible(network(layers.Conv2D(4, 3), layers.PReLU(shared_axes=[1, 2, 3])), "odd")


@pytest.mark.parametrize("wanted", [(), ("odd", "even")])
def test_one_that_nobody_asked_for_is_left_out_with_a_warning(odd: None, wanted: tuple[str, ...]) -> None:
    ready = trainer(*wanted).hold(datasets.load("digits"))
    assert {one.name: bool(one.misfit) for one in ready.architectures} == {"even": False, "odd": True}
    assert len(ready.warnings) == (0 if wanted else 1)  # what was asked for is refused
    assert all("'odd'" in text or "odd, its layer" in text for text in ready.warnings)


def test_a_sweep_that_was_asked_for_one_starts_nothing(tmp_path: Path, command: Command) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    found = command("search.sweep", "--plugin", "mine.py", "--architecture", "malireddi,odd", "--study", "none")
    assert found.code == 2
    assert "error: coremltools cannot convert odd, its layer 'log_gamma' (LogGamma): " in found.err
    assert "Lgamma" in found.error
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path / 'optuna.db'}") == []
    assert [one.name for one in client_of(tmp_path).search_experiments()] == ["Default"]


class FailsAt(NoTraining):
    """Networks of malireddi cannot be converted, from one trial on."""

    first = 0

    def next_event(self, timeout: float | None = None) -> Event | None:
        event = super().next_event(timeout)
        job = self._job
        if job and isinstance(event, Built) and job.config.architecture == "malireddi" and job.number >= self.first:
            self._job = None
            return Failed(job.number, "coremltools cannot convert it", "where it was raised", 2, not_convertible=True)
        return event


class FailsLater(FailsAt):
    first = 1


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepConfig:
    monkeypatch.chdir(tmp_path)
    return SweepConfig(
        "sqlite:///mlflow.db", "small", dataset="digits", trials=4, epochs=1, pruner="none", filters=(4,),
        figures=False,
        enqueue=tuple({"architecture": n, "batch_size": b} for b in (64, 128) for n in ("chollet", "malireddi")),
    )  # fmt: skip


def states() -> list[TrialState]:
    return [trial.state for trial in optuna.load_study(study_name="small", storage="sqlite:///optuna.db").trials]


def test_the_first_trial_that_cannot_be_converted_ends_the_sweep(config: SweepConfig, tmp_path: Path) -> None:
    """What is found by the conversion alone."""
    with pytest.raises(WorkerFailed, match="cannot convert it") as raised:
        sweep(config, engine=lambda _: FailsAt())
    assert raised.value.exit_code == 2
    assert states() == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]
    store = client_of(tmp_path)
    runs = store.search_runs([store.get_experiment_by_name("digits").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FAILED", "FINISHED"]  # one is the sweep's


def test_a_trial_that_cannot_be_converted_where_others_of_its_architecture_can(config: SweepConfig) -> None:
    """A knob may decide it."""
    two = tuple({"architecture": "malireddi", "batch_size": size} for size in (64, 128))
    assert sweep(replace(config, trials=2, enqueue=two), engine=lambda _: FailsLater()).counts["fail"] == 1
    assert states() == [TrialState.COMPLETE, TrialState.FAIL]
