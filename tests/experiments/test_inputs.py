"""A run's data in MLflow, where several runs bring the same data in the same instant."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow import MlflowClient

from experiments.tracking.inputs import as_dataset_input, log_input

RUNS, ROUNDS = 4, 15


def test_runs_may_bring_the_same_new_data_in_the_same_instant(tmp_path: Path) -> None:
    clients = [MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}") for _ in range(RUNS)]
    experiment = clients[0].create_experiment("digits")
    together = threading.Barrier(RUNS)

    def bring(client: MlflowClient, run_id: str, digest: str) -> None:
        data = as_dataset_input({"name": "digits", "digest": digest, "source_type": "local", "source": "{}"})
        together.wait()
        log_input(client, run_id, data)

    with ThreadPoolExecutor(RUNS) as threads:
        for number in range(ROUNDS):
            run_ids = [client.create_run(experiment).info.run_id for client in clients]
            list(threads.map(bring, clients, run_ids, [str(number)] * RUNS))
            assert all(len(clients[0].get_run(run_id).inputs.dataset_inputs) == 1 for run_id in run_ids)
