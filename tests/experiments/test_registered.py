"""Optimizers and losses by name: their contract, what a plugin's must be, and what of the recipe they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from architectures import load_plugin
from architectures.contract import ContractBroken
from architectures.errors import PluginError, UsageError
from experiments import datasets
from experiments.config import ModelSize, RunConfig, RunResult, usual_learning_rate
from experiments.datasets import Split
from experiments.recipe import RECIPE
from experiments.tracking import RunRecord
from experiments.tracking.source import installed_plugins
from experiments.training import contract, losses, optimizers, register_loss, register_optimizer
from experiments.training.contract import check_loss, check_optimizer
from experiments.training.loop import train
from search.config import SweepConfig
from search.engines.messages import Ready
from search.repair.run_diff import parameters
from search.setup import of_builders, with_builders
from search.trials.config import TrialConfig

REGISTRIES = (optimizers._optimizers, losses._losses)


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    for registry in REGISTRIES:
        registry.names()
        monkeypatch.setattr(registry, "entries", dict(registry.entries))


@pytest.mark.parametrize("name", optimizers.names())
def test_every_registered_optimizer_keeps_the_contract(name: str) -> None:
    check_optimizer(name)


@pytest.mark.parametrize("name", losses.names())
def test_every_registered_loss_keeps_the_contract(name: str) -> None:
    check_loss(name)


def deaf_to_its_rate(learning_rate):
    return keras.optimizers.SGD(0.01)


def deaf_to_momentum(learning_rate, *, momentum):
    return keras.optimizers.SGD(learning_rate)


def decaying_all(learning_rate, *, weight_decay):
    class All(keras.optimizers.SGD):
        def exclude_from_weight_decay(self, var_list=None, var_names=None):
            pass

    return All(learning_rate, weight_decay=weight_decay)


def decaying_by_its_gradient(learning_rate, *, weight_decay):
    class Coupled(keras.optimizers.SGD):
        def update_step(self, gradient, variable, rate):
            super().update_step(gradient + 2 * weight_decay * variable, variable, rate)

    return Coupled(learning_rate)


def with_a_hidden_state(learning_rate):
    class Counting(keras.optimizers.SGD):
        steps = 0

        def update_step(self, gradient, variable, rate):
            self.steps += 1
            super().update_step(gradient * self.steps, variable, rate)

    return Counting(learning_rate)


def climbing(learning_rate):
    class Up(keras.optimizers.SGD):
        def update_step(self, gradient, variable, rate):
            super().update_step(-gradient, variable, rate)

    return Up(learning_rate)


def failing(learning_rate):
    raise RuntimeError("lost its way")


def building_a_word(learning_rate):
    return "sgd"


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (deaf_to_its_rate, "rate: takes steps where its schedule is at 0"),
        (deaf_to_momentum, "momentum: takes the same steps whatever its momentum is"),
        (decaying_all, "weight decay: lets weights decay that are excluded from it"),
        (decaying_by_its_gradient, "weight decay: its weight decay is not AdamW's"),
        (with_a_hidden_state, "state: continues differently when resumed from its variables"),
        (climbing, "learning: the loss went from "),
        (failing, "rate: Optimizer 'failing' (.*) failed to build: RuntimeError: lost its way"),
        (building_a_word, "returned str, not a keras.Optimizer."),
    ],
)
def test_each_check_of_an_optimizer_can_fail(builder: Callable, reason: str) -> None:
    register_optimizer(learning_rate_factor=10)(builder)
    with pytest.raises(ContractBroken, match=reason.replace("(", r"\(").replace(")", r"\)")) as broken:
        check_optimizer(builder.__name__)
    assert str(broken.value).startswith(f"Optimizer {builder.__name__!r} breaks its contract. ")


class Given(keras.losses.Loss):
    """What a function of labels and probabilities gives."""

    def __init__(self, function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self.call = function


def reduced(num_classes):
    return Given(lambda true, found: tf.reduce_mean(tf.square(true - found)))


def stumbling(num_classes):
    return Given(lambda true, found: 1 / 0)


def of_the_batch(num_classes):
    return Given(lambda true, found: tf.reduce_mean(tf.square(true - found), 1) - tf.reduce_mean(found[:, 0]))


def without_bounds(num_classes):
    return Given(lambda true, found: -tf.reduce_sum(true * tf.math.log(found), 1))


def upside_down(num_classes):
    return Given(lambda true, found: -tf.reduce_sum(tf.square(true - found), 1))


def rough(num_classes, *, label_smoothing):
    return keras.losses.CategoricalCrossentropy()


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (
            reduced,
            r"gives values of shape \(\) for 4 images, not one for each: let its `call` reduce nothing but the classes",
        ),
        (stumbling, r"each image: Loss 'stumbling' \(.*\) failed: ZeroDivisionError: division by zero"),
        (of_the_batch, "each image: changes when an image is batched with others"),
        (without_bounds, "certainty: is not finite where a network is certain"),
        (upside_down, "order: a wrong answer costs less"),
        (rough, "label smoothing: is the same whatever its label smoothing is"),
    ],
)
def test_each_check_of_a_loss_can_fail(builder: Callable, reason: str) -> None:
    register_loss()(builder)
    with pytest.raises(ContractBroken, match=reason):
        check_loss(builder.__name__)


@pytest.mark.parametrize(
    ("register", "signature", "told"),
    [
        (
            register_optimizer(),
            "(lr)",
            "Change it to (learning_rate), or with some of these keywords, (learning_rate, ",
        ),
        (register_optimizer(), "(learning_rate, momentum)", "has the signature (learning_rate, momentum)."),
        (register_optimizer(), "(learning_rate, *, beta)", "(learning_rate, *, weight_decay, momentum)."),
        (register_optimizer(), "(learning_rate, **others)", "has the signature (learning_rate, **others)."),
        (
            register_optimizer(),
            "(learning_rate, *, momentum=1.5)",
            "an invalid default of momentum: 1.5 is out of range",
        ),
        (register_optimizer(learning_rate_factor=0), "(learning_rate)", "an invalid learning_rate_factor: 0 is out of"),
        (register_optimizer(name="a/b"), "(learning_rate)", "'a/b' is not a name"),
        (register_optimizer(name="sgd"), "(learning_rate)", "Optimizer 'sgd' of <lambda> is already registered by "),
        (register_loss(), "(classes)", "(num_classes, *, label_smoothing)."),
        (register_loss(name="focal"), "(num_classes)", "is already registered by "),
    ],
)
def test_what_cannot_be_registered(register: Callable, signature: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def mine{signature}: ...\n")
    made: dict[str, Callable] = {}
    exec(compile(file.read_text(), file, "exec"), made)
    with pytest.raises(PluginError) as refused:
        register(made["mine"])
    assert told.replace("<lambda>", str(file)) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_name_twice_in_one_file_is_refused_and_an_import_again_is_not(tmp_path: Path) -> None:
    file = tmp_path / "twice.py"
    one = "@register_loss(name='odd')\ndef {}(num_classes): ...\n"
    file.write_text("from experiments.training import register_loss\n" + one.format("a") + one.format("b"))
    with pytest.raises(PluginError, match=r"Loss 'odd' is registered twice in .*twice\.py\. Give one of them another"):
        load_plugin(str(file))
    file.write_text("from experiments.training import register_loss\n" + one.format("a"))
    load_plugin(str(file))
    register_loss(name="odd")(losses.get("odd").builder)  # as a second import does


@pytest.fixture
def plugin_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with an optimizer, and a loss that fails on import."""
    meta = tmp_path / "steps-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: steps\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[optimizers]\nsteps = steps\n[losses]\nbad = no_such_module\n")
    code = "from experiments.training import register_optimizer\n@register_optimizer()\ndef step(learning_rate): ...\n"
    (tmp_path / "steps.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "loaded", False)
        monkeypatch.setattr(registry, "broken", {})
    installed_plugins.cache_clear()
    yield tmp_path
    installed_plugins.cache_clear()


def test_installed_packages_bring_them_and_their_code_is_recorded(
    plugin_package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "step" in optimizers.names()
    with pytest.raises(PluginError, match="Plugin bad .* failed on import"):
        losses.get("bad")
    assert len(losses.left_out()) == 1
    assert "warning: left out: Plugin bad" in capsys.readouterr().err
    before = installed_plugins()
    assert before.keys() == {"steps"}
    (plugin_package / "steps.py").write_text("changed = True")
    installed_plugins.cache_clear()
    assert installed_plugins()["steps"] != before["steps"]


def trained(tmp_path: Path, **changes: object) -> RunResult:
    digits = datasets.load("digits")
    few = replace(digits, train=Split(digits.train.images[:300], digits.train.labels[:300]))
    config = RunConfig("malireddi", "digits", 4, 0.0, batch_size=50, epochs=2, **changes)
    return train(config, few, keras_file=tmp_path / "model.keras", size=ModelSize(0, 0, 0))


@pytest.mark.slow
def test_each_option_changes_what_is_trained(tmp_path: Path) -> None:
    """And `val_loss` stays the cross-entropy, whatever is trained by."""
    sgd = {"optimizer": "sgd", "learning_rate": 0.03}
    kinds = [{}, sgd, sgd | {"momentum": 0.9}, sgd | {"weight_decay": 0.1}, {"loss": "focal"}]
    plain = RunConfig("dense", "shades", None, 0.0, batch_size=16)
    found = [contract.trained(replace(plain, **each)) for each in [*kinds, {"loss": "focal", "label_smoothing": 0.1}]]
    assert len({weights[0].tobytes() for _, weights in found}) == len(found)
    result = trained(tmp_path, loss="focal")
    labels = datasets.load("digits").val.labels
    of_label = result.val_probabilities[np.arange(len(labels)), labels]
    assert result.best_val_loss == pytest.approx(-np.log(of_label).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"momentum": 0.9}, "The optimizer 'adam' takes no --momentum; it takes --weight-decay."),
        ({"optimizer": "banana"}, "Unknown optimizer 'banana'. Registered: adam, adamw, sgd."),
        ({"loss": "banana"}, "Unknown loss 'banana'. Registered: cross_entropy, focal."),
    ],
)
def test_a_run_is_not_trained_with_what_would_do_nothing(changes: dict, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        trained(tmp_path, **changes)
    assert str(refused.value) == told


def ready(optimizer: str, loss: str = "focal") -> Ready:
    return Ready((), (), None, (optimizers.get(optimizer).takes, losses.get(loss).takes))


def test_what_was_not_asked_for_is_the_builders_own() -> None:
    trial = TrialConfig("sqlite:///mlflow.db", "pocket")
    of_loss_and_teacher = {"label_smoothing": 0.0, "temperature": 0.0, "distillation_weight": 0.0}
    assert of_builders(trial, ready("sgd")) == {"momentum": 0.9, "weight_decay": 0.0} | of_loss_and_teacher
    assert of_builders(replace(trial, momentum=0.0), ready("sgd")) == {"weight_decay": 0.0} | of_loss_and_teacher
    taught = of_builders(replace(trial, teacher="best", temperature=5.0), ready("sgd"))
    assert taught["distillation_weight"] == 0.5
    assert "temperature" not in taught
    assert of_builders(replace(trial, weight_decay=0.0), ready("adamw"))["momentum"] == 0.0
    with pytest.raises(UsageError, match="'adamw' takes no --momentum; it takes --weight-decay"):
        of_builders(replace(trial, momentum=0.0), ready("adamw"))  # 0 would do as little
    sweep = SweepConfig("sqlite:///mlflow.db", "night", optimizer="sgd")
    made = with_builders(sweep, ready("sgd"))
    assert (made.momentum, made.weight_decay, made.label_smoothing) == ((0.9, 0.9), None, None)
    assert made.learning_rate_factor == 10
    assert with_builders(replace(sweep, momentum=(0.5, 0.95)), ready("sgd")).momentum == (0.5, 0.95)
    plain = SweepConfig("sqlite:///mlflow.db", "night")
    assert with_builders(plain, ready("adam")) == plain  # studies of before go on as they were
    continued = replace(plain, given=()).continuing(made.recorded())
    assert (continued.optimizer, continued.momentum, continued.learning_rate_factor) == ("sgd", (0.9, 0.9), 10)


def test_a_loss_without_label_smoothing_is_not_asked_for_it() -> None:
    @register_loss()
    def squared(num_classes: int) -> keras.losses.Loss:
        return keras.losses.MeanSquaredError()

    check_loss("squared")
    trial = TrialConfig("sqlite:///mlflow.db", "pocket", label_smoothing=0.1)
    with pytest.raises(UsageError, match="'squared' takes no --label-smoothing; it takes no such options"):
        of_builders(trial, ready("adam", "squared"))


def test_the_doctor_knows_what_a_trial_was_trained_with() -> None:
    usual = {"architectures": ("pocket",), "augment": "off", "precision": "float32"}
    sweep = SweepConfig("sqlite:///mlflow.db", "night", optimizer="sgd", loss="focal", **usual)
    params = {"architecture": "pocket", "batch_size": 64, "dropout": 0.1, "filters": 8, "momentum": 0.9}
    choices = {name: CategoricalDistribution((value,)) for name, value in params.items()}
    trial = create_trial(params=params, distributions=choices, value=0.5)
    found = parameters(with_builders(sweep, ready("sgd")), trial)
    assert (found["optimizer"], found["loss"], found["learning_rate"], found["momentum"]) == (
        *("sgd", "focal", "0.03", "0.9"),
    )


def test_the_usual_rate_follows_the_optimizer() -> None:
    assert usual_learning_rate("cosine", (), 10) == 0.03
    assert usual_learning_rate("cosine", (), 0.1) == 0.0003
    assert usual_learning_rate("constant", (("train", "top"), ("weights", "imagenet")), 10) == 0.001


def test_a_record_from_before_means_what_it_meant() -> None:
    before = RunConfig("pocket", "mnist5k", 8, 0.1)
    params = {key: str(value) for key, value in before.parameters().items()}
    assert not params.keys() & {"loss", *RECIPE}
    found = RunRecord("a" * 32, "pocket-1", "FINISHED", params, {}, {}).config
    assert found == before
    assert (found.optimizer, found.loss, found.momentum) == ("adam", "cross_entropy", 0.0)
    other = replace(before, optimizer="sgd", loss="focal", momentum=0.9)
    params = {key: str(value) for key, value in other.parameters().items()}
    assert RunRecord("a" * 32, "pocket-1", "FINISHED", params, {}, {}).config == other
