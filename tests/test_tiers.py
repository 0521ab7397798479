"""No kind of failure loses its last test: each kind has a real instance in `make test`, or a reason not to."""

# ruff: noqa: E501  # tests by their whole names
from __future__ import annotations

import pytest

from benchmarks.mutants import MUTANTS
from tests.support.commands import ROOT
from tests.support.warm import Program

SEARCH, EXPERIMENTS, CONVERSION = "tests/search", "tests/experiments", "tests/conversion"

# What can go wrong, and a test that makes it happen. Those of `make test`:
IN_MINUTES = {
    "a sweep from a cold start, in processes": f"{SEARCH}/test_sweep.py::test_the_same_seed_gives_the_same_sweep",
    "two workers": f"{SEARCH}/test_survival.py::test_two_workers",
    "kill -9 of a sweep": f"{SEARCH}/test_survival.py::test_kill_9_of_the_sweep_and_continuation",
    "kill -9 of a worker": f"{SEARCH}/test_survival.py::test_kill_9_of_a_worker_loses_one_attempt",
    "a training that goes on": f"{SEARCH}/test_resumed.py::test_a_trial_whose_worker_is_killed_goes_on_from_its_last_epoch",
    "a strike at a random statement": f"{SEARCH}/test_kill_points.py::test_struck_anywhere_and_continued[0]",
    "a strike at a write": f"{SEARCH}/test_kill_points.py::test_killed_at_a_write_and_continued",
    "a worker that dies of every trial": f"{SEARCH}/test_sweep.py::test_a_trial_that_kills_every_worker_is_given_up",
    "an outage of MLflow": f"{SEARCH}/test_outages.py::test_the_mlflow_server_is_killed_and_training_goes_on",
    "a full disk": f"{SEARCH}/test_survival.py::test_a_full_disk_is_one_line_and_the_same_command_goes_on_once_there_is_space",
    "an MLflow that another process has locked": f"{SEARCH}/test_waiting.py::test_a_locked_mlflow_is_waited_for",
    "a sweep that is stopped past the takeover": f"{SEARCH}/test_stopped.py::test_stopped_past_the_takeover_and_continued",
    "a file of kept writes that cannot be read": f"{SEARCH}/test_kept_writes.py::test_what_cannot_be_read_is_set_aside_and_said_once",
    "a killed promotion": f"{CONVERSION}/test_rollback.py::test_a_killed_promotion_is_ended_by_the_next",
    "two promotions at once": f"{CONVERSION}/test_turns.py::test_a_promotion_that_another_overtook_is_refused",
    "a lock whose holder dies": f"{EXPERIMENTS}/test_promotion_lock.py::test_it_is_free_at_its_holders_death[sqlite]",
    "a refused promotion": f"{CONVERSION}/test_gate.py::test_a_refused_promotion_changes_nothing",
    "a wrong file": f"{CONVERSION}/test_verify.py::test_every_wrong_file_is_caught",
    "a damaged file": f"{CONVERSION}/test_fuzz.py::test_damaged_files_end_in_one_line_or_an_answer",
    "a promotion": f"{CONVERSION}/test_promote.py::test_what_mlflow_holds_of_a_promotion",
    "a kill around a pause": f"{SEARCH}/test_kill_points.py::test_a_sweep_killed_around_a_pause_ends_as_if_it_had_not_been",
    "MLflow's own pages": f"{EXPERIMENTS}/test_mlflow_pages.py::test_registered_models_versions_and_promotions_say_what_they_are",
    "a server with TLS": f"{EXPERIMENTS}/test_reachable.py::test_a_certificate_of_an_unknown_authority_is_refused_in_one_line",
    "a run that is trained again": f"{EXPERIMENTS}/test_reproduce.py::test_runs_of_a_parallel_sweep_are_identical",
    "data streamed from disk": f"{EXPERIMENTS}/test_larger_than_memory.py::test_streamed_training_gives_the_same_bits",
    "a notebook": "tests/test_notebooks.py::test_executes_from_clean[04-why-7-and-4]",
    "the commands of the documents": "tests/test_docs.py::test_commands_run[docs/evaluation.md]",
    "the commands of a user of one file": "tests/test_docs.py::test_commands_run[docs/runtime.md]",
}

# Those that need a component, data larger than memory or many strikes:
IN_TEST_SLOW = {
    "Ctrl-C": f"{SEARCH}/test_survival.py::test_interruption_and_continuation[2]",
    "SIGTERM": f"{SEARCH}/test_survival.py::test_interruption_and_continuation[15]",
    "two sweeps at once": f"{SEARCH}/test_outages.py::test_two_sweeps_started_at_once_on_fresh_databases",
    "a host that dies": f"{SEARCH}/test_outages.py::test_trials_of_a_dead_host_are_taken_over",
    "a host that falls silent": f"{SEARCH}/test_outages.py::test_a_silent_host_that_comes_back_leaves_its_trial_to_the_other",
    "an outage of PostgreSQL": f"{SEARCH}/test_outages.py::test_postgresql_is_killed_and_comes_back_after_twenty_seconds",
    "a training that goes on in another sweep": f"{SEARCH}/test_resumed.py::test_a_trial_whose_sweep_is_killed_goes_on_from_its_last_epoch",
    "a death on Ray": f"{SEARCH}/test_ray.py::test_tasks_and_a_node_die_and_their_trials_go_on_elsewhere",
    "thirty strikes at random": f"{SEARCH}/test_kill_points.py::test_struck_anywhere_and_continued[29]",
    "thirty stops past the takeover": f"{SEARCH}/test_stopped.py::test_stopped_past_the_takeover_and_continued[29-done]",
    "two sweeps that train, struck": f"{SEARCH}/test_two_that_train.py::test_struck_at_a_random_moment[2]",
    "a hundred strikes at promotions": f"{CONVERSION}/test_struck.py::test_struck_at_a_random_point[49]",
    "a read-only store": f"{CONVERSION}/test_read_only.py::test_a_read_only_store_can_be_looked_at",
    "a lock on a server": f"{EXPERIMENTS}/test_promotion_lock.py::test_another_machines_ticket_runs_out",
    "data larger than memory": f"{EXPERIMENTS}/test_larger_than_memory.py::test_data_larger_than_the_limit_of_memory",
    "a page in a browser": f"{CONVERSION}/test_draw_browser.py::test_every_digit_is_read[9]",
    "contrast and labels of pages": "tests/test_pages_in_browser.py::test_axe_finds_nothing_and_a_phone_needs_no_scrolling_aside[not_drawn-dark]",
    "a server with a login": f"{SEARCH}/test_secrets.py::test_a_sweep_over_a_server_with_a_login",
    "Swift that does not compile": f"{CONVERSION}/test_swift.py::test_a_wrong_signature_in_it_is_found",
    "an app that does not compile": "tests/ios/test_broken_apps.py::test_a_broken_app_is_caught",
    "the wheel": "tests/test_wheel.py::test_the_wheel_is_whole_and_needs_no_checkout",
    "a sweep over a server": f"{EXPERIMENTS}/test_tracking.py::test_a_sweep_and_a_promotion_over_a_server",
    "two workers from a cold start": f"{SEARCH}/test_local_engine.py::test_workers_share_the_cores_and_map_one_copy_of_the_data",
    "the commands of README from a cold start": "tests/test_docs.py::test_commands_run[README.md-cold]",
    "an installed plugin": "tests/architectures/test_plugins.py::test_the_example_package_is_swept_whatever_else_is_installed",
    "all notebooks": "tests/test_notebooks.py::test_executes_from_clean[01-keras-mnist]",
}


@pytest.mark.parametrize(("marks", "kinds"), [("not slow", IN_MINUTES), ("slow", IN_TEST_SLOW)])
def test_every_kind_of_failure_has_an_instance(marks: str, kinds: dict[str, str]) -> None:
    files = sorted({place.partition("::")[0] for place in kinds.values()})
    collecting = Program("pytest", "--collect-only", "-q", "-m", marks, *files, cwd=ROOT)
    out, err = collecting.communicate(300)
    collected = [line for line in out.splitlines() if "::" in line]
    assert collected, out + err
    lost = {kind: place for kind, place in kinds.items() if not any(_is_of(one, place) for one in collected)}
    assert not lost, f"no instance is left where `-m {marks!r}` looks"


def _is_of(test: str, place: str) -> bool:
    """Whether a collected test is the one of that name, or one of its cases."""
    return test == place or test.startswith(f"{place}[")


def test_every_fault_of_the_mutants_can_still_be_made() -> None:
    """`benchmarks/mutants.py` replaces lines of the product, which move on."""
    stale = [mutant.fault for mutant in MUTANTS if (ROOT / mutant.file).read_text().count(mutant.old) != 1]
    assert not stale


def test_the_tests_that_should_see_them_are_there() -> None:
    """`benchmarks/mutants.py` passes over those that are not: an older commit may not have them yet."""
    named = {test.partition("::")[0] for mutant in MUTANTS for test in mutant.tests}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
