"""What the server of warm processes imports: nothing of it may start a thread of TensorFlow's, or a fork would hang."""

import architectures.quiet

architectures.quiet.import_tensorflow()

import matplotlib.figure  # noqa: E402, F401
import mlflow.keras  # noqa: E402, F401
import sklearn.metrics  # noqa: E402, F401

import experiments.training  # noqa: E402, F401
import search.engines.trainer  # noqa: E402
import search.orchestrate  # noqa: E402
import search.report  # noqa: E402, F401
from conversion.convert import coremltools  # noqa: E402

coremltools()
