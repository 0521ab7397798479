"""What the server of warm processes imports and holds: no thread of TensorFlow's may start, or a fork would hang."""

import tempfile
from pathlib import Path

import architectures.quiet

architectures.quiet.import_tensorflow()

import matplotlib.figure  # noqa: E402, F401
import mlflow.keras  # noqa: E402, F401
import numpy as np  # noqa: E402
import sklearn.metrics  # noqa: E402, F401

import experiments.training.loop  # noqa: E402, F401
import search.engines.trainer  # noqa: E402
import search.orchestrate  # noqa: E402
import search.report.page  # noqa: E402, F401
from conversion.coreml.convert import coremltools  # noqa: E402
from experiments.datasets import load  # noqa: E402
from experiments.evaluation.drawn import drawn_accuracy  # noqa: E402
from search.engines.shared_data import open_dataset, save_dataset  # noqa: E402
from tests.support.stores import copy_migrations  # noqa: E402

coremltools()
copy_migrations()
with tempfile.TemporaryDirectory() as folder:
    save_dataset(load("mnist5k"), Path(folder))
    digits = open_dataset(Path(folder))
    drawn_accuracy(lambda images: np.zeros((len(images), 10), np.float32), digits)  # which keeps the drawings
