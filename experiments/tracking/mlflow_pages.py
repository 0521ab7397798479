"""The contents of MLflow's own pages: descriptions in Markdown, an experiment's columns and their order, links.

MLflow 3.17 stores in the browser whether to show its GenAI or its training UI, unless the link says so; other versions
read the tag `mlflow.experimentKind`. Columns, order and charts are a view as MLflow's Share button saves it: a tag of
the experiment, whose key is in the link. In any order but that of time, the runs are one list, the best first; by time,
all trials are folded under the run of their sweep. MLflow draws a bar chart for every metric with one value, unless the
view marks its chart as deleted: only the curves of the epochs are left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.config import DEFAULT_TRACKING_URI
from experiments.tracking.records import RunRecord, VersionRecord
from experiments.views.links import pages_of
from experiments.views.tables import markdown_text

if TYPE_CHECKING:
    from mlflow.entities import Experiment

NOTE = "mlflow.note.content"  # tag of an experiment or a run: its description
KIND, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
TRAINING = "workflowType=machine_learning"  # in a link
VIEW, VIEWS = "best-first", "mlflow.sharedViewState."
ORDER = "metrics.`best_val_accuracy`"
COLUMNS = (
    ORDER,
    *(f"metrics.`{name}`" for name in ("coreml_bytes", "host_latency_ms", "parameters")),
    *(f"params.`{name}`" for name in ("architecture", "filters", "dropout", "batch_size")),
    "tags.`outcome`",
)
# Metrics of a trial, a sweep and a phone with a single value: the list of runs shows them, the charts do not.
SINGLE_VALUES = (
    *("best_epoch", "best_val_accuracy", "best_val_balanced_accuracy", "best_val_loss", "drawn_accuracy"),
    *("expected_calibration_error", "macro_precision", "macro_recall", "val_accuracy_high", "val_accuracy_low"),
    *("coreml_bytes", "coreml_bytes_at_least", "keras_bytes", "macs", "parameters"),
    *("host_latency_ms", "images_per_second"),
    *("best_coreml_bytes", "failed", "pruned", "seconds", "trials"),
    *("expected_accuracy", "expected_accuracy_high", "expected_accuracy_low"),
    *(
        f"device_{processors}_{time}_ms"
        for processors in ("all", "cpu", "cpu_and_neural_engine")
        for time in ("first", "latency", "load")
    ),
)
SECTION = "curves"  # of the page of charts
# MLflow's list of experiments shows these as plain text, an experiment's page as Markdown.
OF_TRAINING = (
    "Training runs: one for each trial, and one for each sweep, named after its study, whose description is the "
    "leaderboard. Accuracy and loss are of the validation images; only promotions use the test images. "
    "coreml_bytes is the exact size of the Core ML file."
)
DEFAULT = (
    "MLflow's default experiment, which is not used: the runs of each data set are in the experiment named after it."
)


def of_kept_models(dataset: str) -> str:
    """Return the description of a registered model."""
    return (
        f"Classifiers of {markdown_text(dataset)} that sweeps and trials have kept, as Keras models. The alias "
        "candidate is on the best of the last sweep, champion on the one whose Core ML file is promoted."
    )


def of_run(run: RunRecord) -> str:
    """Return the description of a kept model's version."""
    settings = [f"{name} {run.params[name]}" for name in ("filters", "dropout", "batch_size") if name in run.params]
    study = f" of study {run.tags['study']}" if "study" in run.tags else ""
    return markdown_text(
        f"{', '.join([run.params['architecture'], *settings])}: validation accuracy "
        f"{run.metrics['best_val_accuracy']:.4f}, {run.metrics['coreml_bytes']:,.0f} bytes as a Core ML file. Trained "
        f"by run {run.name}{study}."
    )


def of_promotions(name: str) -> str:
    """Return the description of the registered model with another one's promotions."""
    return (
        f"Promotions of {markdown_text(name)}: each version holds a Core ML file, which it executes to answer, and "
        "the evidence that it was promoted on. The alias champion is on the file that ships now."
    )


def of_promotion(source: VersionRecord, tags: Mapping[str, str]) -> str:
    """Return the description of a promotion, from the promoted version and the promotion's tags."""
    measured = tags["test_accuracy"]
    accuracy = f"{float(measured):.4f}" if measured[:1].isdecimal() else markdown_text(measured)
    return (
        f"Version {source.version} of {markdown_text(source.registered_name)} as Core ML file: "
        f"{int(tags['coreml_bytes']):,} bytes, compression {markdown_text(tags['compression'])}, "
        f"test accuracy {accuracy}."
    )


def experiment_tags(about: str, *, training: bool) -> dict[str, str]:
    """Return the tags of an experiment with the description `about`; for `training` runs, also the columns."""
    view = {
        "orderByKey": ORDER,
        "orderByAsc": False,
        "selectedColumns": COLUMNS,
        "compareRunSections": [{"uuid": SECTION, "name": "Model metrics", "display": True, "isReordered": False}],
        "compareRunCharts": [
            {"metricKey": name, "type": "BAR", "isGenerated": True, "deleted": True} for name in sorted(SINGLE_VALUES)
        ],
    }
    return {NOTE: about, KIND: MODEL_TRAINING} | ({VIEWS + VIEW: json.dumps(view)} if training else {})


def missing_tags(experiment: Experiment, tags: dict[str, str]) -> dict[str, str]:
    """Return the tags that an experiment lacks; a description written by a person stays."""
    return {key: value for key, value in tags.items() if key not in experiment.tags}


def runs_page(tracking_uri: str, experiment_id: str) -> str:
    """Return the URL of an experiment's runs, the best first: on its server, or for a database on this machine's.

    >>> runs_page("https://me:secret@mlflow.example/", "1")
    'https://mlflow.example/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=best-first'
    """
    return f"{pages_of(tracking_uri)}/#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey={VIEW}"


def served_by(tracking_uri: str) -> str:
    """Return in words what to start to see that page; empty if the store is a server.

    >>> served_by("sqlite:///mlflow.db"), served_by("https://mlflow.example")
    ('make ui or mlflow ui', '')
    """
    if tracking_uri.startswith("http"):
        return ""
    return "make ui or mlflow ui" if tracking_uri == DEFAULT_TRACKING_URI else "mlflow ui on the tracking store"


def link_within_mlflow(experiment_id: str, run_id: str) -> str:
    """Return the link to a run's page, from any of MLflow's pages."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"
