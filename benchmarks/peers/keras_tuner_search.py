"""The search that a KerasTuner user writes, over the trials of same_work.py.

Run: python benchmarks/peers/keras_tuner_search.py --epochs 5      (pip install -e '.[peers]')

A HyperModel whose build and fit take architecture, filters, dropout and batch size from `hp`, objective val_accuracy,
KerasTuner's own defaults otherwise. GridSearch over the index of a configuration, because it visits each exactly once;
it also spends less on choosing than RandomSearch and BayesianOptimization. It writes its trials as JSON and the best
epoch's weights of each into the working folder; nothing goes to MLflow. The last line printed is a JSON object.
"""

from __future__ import annotations

import json
import sys
import time

import same_work


def main() -> None:
    arguments = same_work.options(__doc__)
    started = time.perf_counter()
    from architectures.quiet import import_tensorflow

    import_tensorflow()
    import keras
    import keras_tuner

    from architectures import registry
    from experiments import datasets

    data = datasets.load("mnist5k")
    registry.names()  # imports the families
    trials = same_work.configurations(arguments.enqueue)

    class Classifier(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            keras.utils.set_random_seed(arguments.seed)
            chosen = trials[hp.Choice("configuration", list(range(len(trials))))]
            return same_work.compiled(data, epochs=arguments.epochs, usual=arguments.usual, **chosen)

        def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: object, **kwargs: object) -> object:
            batch_size = trials[hp.get("configuration")]["batch_size"]
            return model.fit(*args, batch_size=batch_size, **kwargs)

    tuner = keras_tuner.GridSearch(Classifier(), objective="val_accuracy", directory="tuner")
    ready = time.perf_counter()
    tuner.search(
        data.train.images,
        data.train.labels,
        epochs=arguments.epochs,
        validation_data=(data.val.images, data.val.labels),
        verbose=0,
    )
    ended = time.perf_counter()
    scores = [trial.score for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
    if len(scores) != len(trials):
        sys.exit(f"{len(trials) - len(scores)} of {len(trials)} trials failed; KerasTuner's tracebacks are above.")
    figures = {"startup_seconds": ready - started, "search_seconds": ended - ready}
    print(json.dumps(figures | {"trials": len(scores), "best_val_accuracy": max(scores)}))


if __name__ == "__main__":
    main()
