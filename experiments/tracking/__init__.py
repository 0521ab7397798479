"""The only interface to MLflow: runs, kept models, the registry. Nothing else imports mlflow.

Keys, tags and aliases are the contract of docs/records.md. Runs are written through `MlflowClient`: MLflow's fluent
functions keep their state in the thread, and its Keras flavor infers requirements for seconds per model.
"""

from experiments.tracking.coreml_flavor import ServedFile
from experiments.tracking.counted_looks import Look, LookRecord
from experiments.tracking.entries import Ended, OwnershipLost
from experiments.tracking.guard import ExperimentDeleted, TrackingError, TrackingUnavailable
from experiments.tracking.inputs import dataset_facts
from experiments.tracking.mlflow_pages import link_within_mlflow, runs_page, served_by
from experiments.tracking.models import StoredModel
from experiments.tracking.outbox import Outbox
from experiments.tracking.promotions import PLACE_TAG, Begun, Current, PromotionRecord
from experiments.tracking.records import ModelRecord, RunRecord, VersionFacts, VersionRecord
from experiments.tracking.registry import CANDIDATE, CHAMPION
from experiments.tracking.selections import Selection, is_original, merit
from experiments.tracking.source import code_identity, code_tags, environment, git_commit
from experiments.tracking.tracker import Tracker
from experiments.tracking.writer import LONGEST_TAG, NOT_DRAWN, NOT_DRAWN_FILE, run_start

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "LONGEST_TAG",
    "NOT_DRAWN",
    "NOT_DRAWN_FILE",
    "PLACE_TAG",
    "Begun",
    "Current",
    "Ended",
    "ExperimentDeleted",
    "Look",
    "LookRecord",
    "ModelRecord",
    "Outbox",
    "OwnershipLost",
    "PromotionRecord",
    "RunRecord",
    "Selection",
    "ServedFile",
    "StoredModel",
    "Tracker",
    "TrackingError",
    "TrackingUnavailable",
    "VersionFacts",
    "VersionRecord",
    "code_identity",
    "code_tags",
    "dataset_facts",
    "environment",
    "git_commit",
    "is_original",
    "link_within_mlflow",
    "merit",
    "run_start",
    "runs_page",
    "served_by",
]
