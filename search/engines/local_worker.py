"""The worker process of the local engine, after TensorFlow is set up."""

from __future__ import annotations

from functools import partial
from multiprocessing.connection import Connection

from experiments.training.state import write_whole
from search.engines.messages import Built, EpochEnded, Job, Placed, WorkerSetup
from search.engines.shared_data import open_dataset
from search.engines.trainer import Trainer


def run_worker(connection: Connection, setup: WorkerSetup) -> None:
    """Send the known architectures, then train jobs one at a time."""
    trainer = Trainer(setup)
    connection.send(trainer.hold(open_dataset(connection.recv())))

    def ask(event: Built | EpochEnded) -> bool:
        connection.send(event)
        return connection.recv()

    while True:
        job: Job = connection.recv()
        connection.send(Placed(job.number, trainer.environment))
        trainer.train(job, connection.send, ask, partial(write_whole, job.state_file) if job.state_file else None)
