"""The evidence of a promotion as files: `promotion.json` for programs and `promotion.html` for people.

`promotion.json`, schema version 4. `units` names the unit of every number by its key.

- `decision`, `reasons`, `forced_reason`: promoted, forced or refused; what failed; why a person overrode it.
- `created_at`: UTC.
- `run`, `run_id`, `study`, `architecture`, `dataset`, `dataset_digest`, `git_commit`: where the model comes from.
- `coreml_format`, `compression`, `minimum_ios`, `coreml_bytes`, `coreml_sha256`: the file.
- `metadata`: the file's metadata, by key: the app's measurements on a device are compared with it.
- `coreml_reproducible_sha256`, `reproducible_by`: its digest without the date of conversion, and how to compute that.
- `expected_accuracy`, `expected_accuracy_low`, `expected_accuracy_high`: the accuracy that the model's sweep expects on
  new images, corrected for selection by validation accuracy (`experiments/evaluation/expected.py`), with its 95 %
  interval. Absent unless the model was the best of its sweep.
- `val_accuracy`, `model_val_accuracy`: of the executed file and of the trained model, on the validation images.
- `test_accuracy`, `test_accuracy_low`, `test_accuracy_high`, `test_images`: of the executed file, with its 95 % Wilson
  interval.
- `class_names`, `confusion_matrix`: of the executed file on the test images, a row per true class, a column per
  predicted class.
- `test_evaluation`: of the executed file on the test images: precision and recall of each class, the expected
  calibration error and its bins (`experiments/evaluation/metrics.py`), the most confident mistakes.
- `test_look`: how many times the test split of these data has been used, including this time, and when before.
- `gate`: each criterion with `name`, `verdict` (passed, failed, not checkable, not asked, no champion, not judged),
  `finding` and `figures`. Not judged: another criterion refused the file before the test images were used.
- `checks`: each property read from the file, with `name`, `passed`, `expected` and `found`.
- `route`: how weights and predictions were compared with the model's. `twin`: the file's weights were loaded into the
  model. `conversion`: they were compared with the uncompressed conversion of the model. `none`: not at all.
- `weights`: each weight of the model (by the route `conversion`, each constant of that file), the tensor of the file
  that holds it, and the rule of compression it obeys.
- `parity`: on each split, what was `executed` and compared with the model. By the route `twin`: the file, with the
  model with the file's weights. By the route `conversion`: the file (the uncompressed conversion if it is compressed),
  with the trained model. `rounding` is the model's own float32 error, `allowance` the largest difference that it
  explains.
- `original`: on each split, the file compared with the trained model, and the images whose label changes.
- `threshold`: the lowest confidence that counts as an answer, by the rule of `conversion/verification/threshold.py`;
  `refusals`: on each split, how many correctly and how many wrongly predicted images are refused.
- `float16`: the effect of a phone's arithmetic, simulated on the first validation images: labels that differ from
  float32 and their images, the largest change of a probability, the first layer that overflows and the first whose
  output vanishes, each with its place in the network and the number of images, and the layers that change labels.
  `accumulation` is the type of its sums. None if the file was not executed.
- `arithmetic`: the file in float32 and in float16 (`executed`), each compared with the trained model, on the same
  images as `float16`. Empty if the file was not executed.
- `native`: the answers of Apple's runtime, if it is available.
- `preference`: with `--prefer smallest`, the best version, the chosen one, and how each smaller one compares with the
  best on the validation images; there `champion` is the best, `candidate` the smaller one.
- `compression_search`: with `--compress auto`, every file that was executed; also as `compression.json` and `.png`.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from datetime import datetime

from conversion.coreml.file import CoreMLFile
from conversion.promotion.candidate import Candidate
from conversion.promotion.compression_search import CompressionChoice
from conversion.promotion.gate import Decision
from conversion.runtime import Interface
from conversion.verification.evidence import Evidence
from experiments.tracking.parents import EXPECTED

SCHEMA_VERSION = 4
REPRODUCIBLE_BY = (
    "SHA-256 of the protobuf message without the user metadata com.github.apple.coremltools.conversion_date, "
    "serialized with deterministic=True; of a package, of the list that sha256sum prints for its members"
)

SHARE = "share of images, 0 to 1"
POINTS = "percentage points"
PROBABILITY = "probability, 0 to 1"
KEYS_BY_UNIT = {
    "version of this schema": "schema_version",
    "bytes": "coreml_bytes max_bytes size_bytes",
    "images": (
        "images test_images flips right right_refused wrong_refused label_flips confusion_matrix correct "
        "only_candidate_right only_champion_right not_numbers"
    ),
    PROBABILITY: (
        "threshold low high confidence expected_calibration_error max_difference mean_difference rounding "
        "allowance p_value significance_level"
    ),
    "index in the split": "flipped index",
    "index in class_names": "true_label model_label file_label answer",
    "numbers": "elements",
    "uses of the test split of these data so far": "number",
    SHARE: (
        "accuracy accuracy_low accuracy_high precision recall f1 macro_precision macro_recall val_accuracy "
        "model_val_accuracy expected_accuracy expected_accuracy_low expected_accuracy_high "
        "test_accuracy test_accuracy_low test_accuracy_high file_accuracy model_accuracy "
        "min_accuracy largest_class_share champion_test_accuracy candidate_accuracy champion_accuracy"
    ),
    POINTS: "accuracy_loss max_accuracy_loss max_accuracy_loss_points",
    "version of iOS": "minimum_ios",
    "layers before it": "place",
    "version in the registry": "version champion_version champion_promotion",
}
UNITS = {key: unit for unit, keys in KEYS_BY_UNIT.items() for key in keys.split()}


@dataclass(frozen=True)
class Examination:
    """Everything that a promotion was decided on."""

    candidate: Candidate
    file: CoreMLFile
    interface: Interface  # of the file
    choice: CompressionChoice | None  # all files that `--compress auto` ran
    evidence: Evidence
    decision: Decision
    created_at: datetime


def summary(examination: Examination) -> dict[str, object]:
    """Return the evidence as one JSON-ready object, as described above."""
    evidence, decision, facts = examination.evidence, examination.decision, examination.candidate.facts
    preference = examination.candidate.preference
    result: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "decision": decision.outcome,
        "reasons": list(decision.reasons),
        "forced_reason": decision.forced_reason,
        "created_at": examination.created_at.isoformat(timespec="seconds"),
        "run": examination.candidate.run.name,
        "run_id": facts.run_id,
        "study": facts.study or None,
        "architecture": facts.architecture,
        "dataset": facts.dataset,
        "dataset_digest": facts.dataset_digest,
        "git_commit": facts.git_commit,
        "coreml_format": evidence.format,
        "compression": evidence.compression,
        "minimum_ios": evidence.minimum_ios,
        "coreml_bytes": evidence.file_bytes,
        "coreml_sha256": evidence.file_sha256,
        "metadata": dict(examination.interface.metadata.user_defined),
        "coreml_reproducible_sha256": examination.file.reproducible_sha256,
        "reproducible_by": REPRODUCIBLE_BY,
    }
    expected = examination.candidate.expected_accuracy
    if expected:
        result |= dict(zip(EXPECTED, astuple(expected), strict=True))
    if evidence.original:
        val = evidence.against_original("val")
        result |= {"val_accuracy": val.file_accuracy, "model_val_accuracy": val.model_accuracy}
    evaluation = evidence.test_evaluation
    if evaluation:
        test = evidence.against_original("test")
        result |= {
            "test_accuracy": test.file_accuracy,
            "test_accuracy_low": evaluation.accuracy_low,
            "test_accuracy_high": evaluation.accuracy_high,
            "test_images": test.images,
        }
    return result | {
        "gate": [asdict(criterion) for criterion in decision.criteria],
        "checks": [asdict(check) for check in evidence.checks],
        "weights": [asdict(weight) for weight in evidence.weights],
        "route": evidence.route,
        "parity": [asdict(parity) for parity in evidence.parity],
        "original": [asdict(parity) for parity in evidence.original],
        "threshold": evidence.threshold,
        "refusals": [asdict(refused) for refused in evidence.refusals],
        "float16": evidence.half and asdict(evidence.half),
        "arithmetic": [asdict(parity) for parity in evidence.arithmetic],
        "native": asdict(evidence.native),
        "class_names": list(facts.class_names),
        "confusion_matrix": evaluation.confusion_matrix if evaluation else [],
        "test_evaluation": evaluation and asdict(evaluation),
        "test_look": evidence.test_look and asdict(evidence.test_look),
        "preference": preference and asdict(preference),
        "compression_search": examination.choice.as_json() if examination.choice else None,
        "units": UNITS,
    }
