"""What the server of warm processes imports and holds: no thread of TensorFlow's may start, or a fork would hang."""

import tempfile
from pathlib import Path

import architectures.quiet

architectures.quiet.import_tensorflow()

import matplotlib.figure  # noqa: E402, F401
import mlflow.keras  # noqa: E402
import mlflow.pyfunc  # noqa: E402
import mlflow.store.model_registry.sqlalchemy_store  # noqa: E402, F401
import numpy as np  # noqa: E402
import optuna  # noqa: E402
import sklearn.calibration  # noqa: E402
import sklearn.metrics  # noqa: E402, F401

import conversion.promotion.publish  # noqa: E402
import conversion.promotion.restore  # noqa: E402
import conversion.runtime  # noqa: E402, F401
import experiments.evaluation.pictures  # noqa: E402
import experiments.model_files  # noqa: E402
import experiments.training.loop  # noqa: E402, F401
import search.engines.trainer  # noqa: E402
import search.orchestrate  # noqa: E402
import search.report.page  # noqa: E402, F401
from architectures.garbage import freeze  # noqa: E402
from conversion.coreml.convert import coremltools  # noqa: E402
from experiments.datasets import load  # noqa: E402
from experiments.evaluation.drawn import drawn_accuracy  # noqa: E402
from experiments.views.page import ENGINE  # noqa: E402
from search.engines.shared_data import open_dataset, save_dataset  # noqa: E402
from tests.support.stores import copy_migrations, leave_writing_to_the_system  # noqa: E402

coremltools()
leave_writing_to_the_system()
copy_migrations()
optuna.storages.RDBStorage("sqlite:///:memory:").engine.dispose()  # which finds out the revision that it wants
for page in ENGINE.list_templates():
    ENGINE.get_template(page)  # which compiles it
with tempfile.TemporaryDirectory() as folder:
    save_dataset(load("mnist5k"), Path(folder))
    digits = open_dataset(Path(folder))
    drawn_accuracy(lambda images: np.zeros((len(images), 10), np.float32), digits)  # which keeps the drawings
freeze()  # nothing of all this is ever looked through, nor copied for it
