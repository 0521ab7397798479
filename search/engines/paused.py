"""The networks of paused trials that a worker still holds, so that resuming one neither builds nor traces it again."""

from __future__ import annotations

from experiments.datasets import Dataset
from experiments.training.preparation import Prepared
from experiments.training.streaming import streams
from search.engines.messages import PAUSED_BYTES, Job

TRACED_BYTES = 10 * 2**20  # of the graphs of one
COPIES = 4  # of the weights of one: in two precisions, and the optimizer's two moments


class Paused:
    """The trainings that were paused last, as many as fit into memory."""

    def __init__(self, dataset: Dataset) -> None:
        self._images = 0 if streams(dataset.train) else dataset.train.images.nbytes  # graphs hold them as constants
        self._held: dict[int, Prepared] = {}  # by the trial's number, the last one last

    def pop(self, job: Job) -> Prepared | None:
        """Return the training of a job that resumes from a saved state, if it is held."""
        prepared = self._held.pop(job.number, None)
        return prepared if prepared and job.state and prepared.config == job.config else None

    def add(self, job: Job, prepared: Prepared) -> None:
        """Hold a training, and drop those that were paused first if memory is full."""
        if prepared.shared:
            return
        self._held[job.number] = prepared
        while sum(map(self._bytes, self._held.values())) > PAUSED_BYTES:
            del self._held[next(iter(self._held))]

    def _bytes(self, prepared: Prepared) -> int:
        answers = 0 if prepared.answers is None else prepared.answers.nbytes
        return self._images + answers + TRACED_BYTES + COPIES * 4 * prepared.size.parameters
