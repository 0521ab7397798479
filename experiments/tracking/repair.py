"""Repair runs for `search.doctor`."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.tracking.store import Store


class Repair:
    """Completes, deletes and restores runs."""

    def __init__(self, store: Store) -> None:
        self._store, self._client = store, store.client

    def delete_run(self, run_id: str) -> None:
        """Delete a run; `mlflow runs restore` can undo this."""
        self._client.delete_run(run_id)

    def adopt_run(self, run_id: str, parent_run_id: str) -> None:
        """Make a run a child of a sweep's run."""
        self._client.set_tag(run_id, "mlflow.parentRunId", parent_run_id)

    def undelete_run(self, run_id: str) -> None:
        """Restore a deleted run."""
        self._client.restore_run(run_id)

    def restore_run(
        self,
        parent_run_id: str,
        name: str,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        course: Mapping[str, Mapping[int, float]],
        figures: Mapping[str, float],
    ) -> str:
        """Create the missing run of a trial from what is known elsewhere; it is RUNNING until it is ended.

        Args:
            tags: its tags, except the parent's.
            course: metrics by epoch.
            figures: final metrics.
        """
        experiment_id = self._client.get_run(parent_run_id).info.experiment_id
        held = {"mlflow.parentRunId": parent_run_id, **tags}
        run_id = self._client.create_run(experiment_id, run_name=name, tags=held).info.run_id
        self._store.log(run_id, params=params)
        for key, values in course.items():
            self.log_course(run_id, key, values)
        self.log_figures(run_id, figures)
        return run_id

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Write parameters that a run lacks."""
        self._store.log(run_id, params=params)

    def log_course(self, run_id: str, key: str, course: Mapping[int, float]) -> None:
        """Write values of a metric by epoch that a run lacks."""
        for step, value in course.items():
            self._store.log(run_id, metrics={key: value}, step=step)

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run, whatever its status."""
        for key, value in tags.items():
            self._client.set_tag(run_id, key, value)

    def log_figures(self, run_id: str, figures: Mapping[str, float]) -> None:
        """Write final metrics that a run lacks."""
        self._store.log(run_id, metrics=figures)
