"""The usual script, as tutorials have it: an Optuna study on SQLite, an MLflow run per trial, `mlflow.keras.log_model`.

Run: python benchmarks/peers/optuna_mlflow_script.py --epochs 5

The trials of same_work.py, enqueued, and those that TPE draws. Each is a nested run with its parameters, a callback
that logs each epoch, and the trained model with the defaults of `log_model`. It writes optuna.db, mlflow.db and mlruns/
into the working folder. The last line printed is a JSON object.
"""

from __future__ import annotations

import json
import time

import same_work


def main() -> None:
    arguments = same_work.options(__doc__)
    started = time.perf_counter()
    from architectures.quiet import import_tensorflow

    import_tensorflow()
    import keras
    import mlflow
    import optuna

    from experiments import datasets

    data = datasets.load("mnist5k")
    names = [each["architecture"] for each in same_work.TRIALS]
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("mnist5k")

    class LogEpochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            for name, value in (logs or {}).items():
                mlflow.log_metric(name, value, step=epoch)

    def objective(trial: optuna.Trial) -> float:
        chosen = {
            "architecture": trial.suggest_categorical("architecture", list(names)),
            "filters": trial.suggest_categorical("filters", [8, 16, 32]),
            "dropout": trial.suggest_float("dropout", 0.0, 0.5),
            "batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
        }
        keras.utils.set_random_seed(arguments.seed)
        with mlflow.start_run(run_name=f"trial-{trial.number}", nested=True):
            mlflow.log_params(chosen | {"epochs": arguments.epochs})
            model = same_work.compiled(data, epochs=arguments.epochs, usual=arguments.usual, **chosen)
            size = chosen["batch_size"]
            plain = {"x": data.train.images, "y": data.train.labels, "batch_size": size}
            history = model.fit(
                **({"x": same_work.augmented_batches(data, size)} if arguments.augment else plain),
                epochs=arguments.epochs,
                validation_data=(data.val.images, data.val.labels),
                callbacks=[LogEpochs()],
                verbose=0,
            )
            mlflow.keras.log_model(model, name="model")
            return max(history.history["val_accuracy"])

    sampler = optuna.samplers.TPESampler(seed=arguments.seed)
    study = optuna.create_study(
        sampler=sampler, study_name="mnist5k", storage="sqlite:///optuna.db", direction="maximize"
    )
    trials = same_work.configurations(arguments.enqueue)
    for trial in trials:
        study.enqueue_trial(trial)
    ready = time.perf_counter()
    with mlflow.start_run(run_name="study"):
        study.optimize(objective, n_trials=len(trials) + arguments.drawn)
    ended = time.perf_counter()
    figures = {"startup_seconds": ready - started, "search_seconds": ended - ready}
    print(json.dumps(figures | {"trials": len(study.trials), "best_val_accuracy": study.best_value}))


if __name__ == "__main__":
    main()
