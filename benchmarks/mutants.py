"""Find which tests of `make test` catch which fault of the product, one at a time, in a copy of this checkout.

Run: python benchmarks/mutants.py [--only NAME] [--commit COMMIT]

Each fault is an edit of one place. The tests listed with it, of which one should catch it, run until the first failure,
without those marked slow; before that, all of them must pass on the unchanged copy. A fault whose place is not in the
checkout is reported. Exit code 1 if a fault escaped.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from architectures.display import say

ROOT = Path(__file__).parents[1]
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
TESTS_FAILED = 1  # pytest's exit code

ATTACH = "                tracker.models.attach(version, folder)\n"
PUT = "                check()\n                put()\n                check()\n"


@dataclass(frozen=True)
class Mutant:
    """A fault, and where it should be seen."""

    fault: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]  # files or names, those first that should see it


MUTANTS = (
    Mutant(
        "two architectures of one name",
        "architectures/plugins.py",
        "if taken.source != source:",
        "if False:",
        ("tests/architectures/test_registry.py",),
    ),
    Mutant(
        "a token in a message",
        "architectures/redaction.py",
        "_PATTERNS = (_PASSWORD, _LONE_TOKEN, _KEYED, _HEADER)",
        "_PATTERNS = (_PASSWORD, _LONE_TOKEN, _HEADER)",
        ("tests/architectures/test_redaction.py",),
    ),
    Mutant(
        "a weight without a gradient",
        "architectures/contract.py",
        "    require(not unused, ",
        "    require(True, ",
        ("tests/architectures/test_contract.py",),
    ),
    Mutant(
        "another exit code of a refusal",
        "architectures/command.py",
        "return error.exit_code if isinstance(error, ProjectError) else 1",
        "return 1",
        ("tests/architectures/test_output.py", "tests/conversion/test_gate.py"),
    ),
    Mutant(
        "labels of a folder in reverse order",
        "experiments/datasets/layout.py",
        'return sorted(self.files["train"])',
        'return sorted(self.files["train"], reverse=True)',
        ("tests/experiments/test_layout.py", "tests/experiments/test_datasets_files.py"),
    ),
    Mutant(
        "metrics at the epoch before",
        "experiments/tracking/writer.py",
        'step = values.pop("epoch")',
        'step = values.pop("epoch") - 1',
        ("tests/experiments/test_tracking.py",),
    ),
    Mutant(
        "weights of the last epoch, not the best",
        "experiments/training/loop.py",
        "    learning.set_weights(best_weights)\n",
        "",
        ("tests/experiments/test_training.py",),
    ),
    Mutant(
        "a lock that locks nothing",
        "experiments/locks.py",
        "            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        ("tests/experiments/test_promotion_lock.py",),
    ),
    Mutant(
        "an unescaped name in a page",
        "experiments/views/page.py",
        "        autoescape=True,",
        "        autoescape=False,",
        ("tests/experiments/test_hostile_names.py",),
    ),
    Mutant(
        "a needed model is pruned",
        "experiments/tracking/models.py",
        '            return f"version {version.version} of {version.name}"',
        "            return None",
        ("tests/experiments/test_prune.py",),
    ),
    Mutant(
        "a criterion of the gate is skipped",
        "conversion/promotion/gate.py",
        "            _size(evidence, config.max_bytes),\n",
        "",
        ("tests/conversion/test_gate.py",),
    ),
    Mutant(
        "labels of the file in reverse order",
        "conversion/coreml/convert.py",
        "ct.ClassifierConfig(list(self._facts.class_names))",
        "ct.ClassifierConfig(list(self._facts.class_names)[::-1])",
        ("tests/conversion/test_convert.py", "tests/conversion/test_verify.py"),
    ),
    Mutant(
        "evidence is written after the alias",
        "conversion/promotion/publish.py",
        f"{ATTACH}{PUT}                make_champion(tracker, record)\n",
        f"{PUT}                make_champion(tracker, record)\n{ATTACH}",
        ("tests/conversion/test_turns.py", "tests/conversion/test_rollback.py"),
    ),
    Mutant(
        "wrong weights are no fault",
        "conversion/verification/evidence.py",
        "        found += [weight.fault for weight in self.weights if weight.fault]\n",
        "",
        ("tests/conversion/test_verify.py",),
    ),
    Mutant(
        "a removed model is promoted",
        "conversion/promotion/publish.py",
        "        if tracker.models.is_removed(model):\n",
        "        if False:\n",
        ("tests/conversion/test_turns.py",),
    ),
    Mutant(
        "a sweep writes to another one's trial",
        "search/study/claims.py",
        "if claim is None or held is None or not _is_held(claim, held):",
        "if claim is None or held is None:",
        ("tests/search/test_claims.py", "tests/search/test_stopped.py"),
    ),
    Mutant(
        "what a silent sweep may still write is not fenced off",
        "search/study/lifecycle.py",
        "                if may_live(trial):\n",
        "                if False:\n",
        ("tests/search/test_claims.py", "tests/search/test_stopped.py"),
    ),
    Mutant(
        "the study is told before MLflow",
        "search/trials/event_handler.py",
        "        self._outbox.write(running.trial.number, Finish(result, keep))\n",
        "        self._study.trials.tell(scored.number, TrialState.COMPLETE, scored.value, run_id='')\n"
        "        self._outbox.write(running.trial.number, Finish(result, keep))\n",
        ("tests/search/test_kill_points.py", "tests/search/test_sweep.py"),
    ),
    Mutant(
        "paused trials are asked as others are",
        "search/study/queue.py",
        "if trial.state == TrialState.WAITING and not is_paused(trial)]",
        "if trial.state == TrialState.WAITING]",
        ("tests/search/test_halving.py",),
    ),
    Mutant(
        "hopeless trials are trained, the others pruned",
        "search/study/pruning.py",
        "    return hopeful > min(",
        "    return hopeful < min(",
        ("tests/search/test_objectives.py",),
    ),
    Mutant(
        "replicates of the seed that was searched with",
        "search/study/study.py",
        "(self.config.seed + further) % 2**32)",
        "self.config.seed)",
        ("tests/search/test_comparison.py",),
    ),
)


def copy(commit: str | None, folder: Path) -> None:
    """Copy what a commit holds, or this working tree, without its history."""
    if commit:
        packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=packed.stdout)
        return
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def first_failure(tests: tuple[str, ...], folder: Path) -> str | None:
    """The first test that fails, if any; raises where pytest could not run them."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-m", "not slow", "--basetemp", f"{scratch}/t", *tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )
    if done.returncode == TESTS_FAILED and (found := FAILED.search(done.stdout)):
        return found[1]
    if done.returncode:
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="may be repeated")
    parser.add_argument("--commit", help="the product and the tests of a commit, instead of this working tree")
    parser.add_argument("--trusting", action="store_true", help="do not run the tests without a fault first")
    arguments = parser.parse_args(argv)
    chosen = [mutant for mutant in MUTANTS if not arguments.only or mutant.fault in arguments.only]
    escaped = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(arguments.commit, folder)

        def there(mutant: Mutant) -> bool:
            file = folder / mutant.file
            return file.is_file() and mutant.old in file.read_text()

        def held(mutant: Mutant) -> tuple[str, ...]:
            return tuple(test for test in mutant.tests if (folder / test).exists())

        if not arguments.trusting:
            tests = tuple(sorted({test for mutant in chosen if there(mutant) for test in held(mutant)}))
            assert (failed := first_failure(tests, folder)) is None, f"{failed} fails without a fault"
        for mutant in chosen:
            if not there(mutant):
                say(f"{mutant.fault}: not there ({mutant.file})", flush=True)
                continue
            file = folder / mutant.file
            text = file.read_text()
            assert text.count(mutant.old) == 1, f"{mutant.file} holds more than one: {mutant.old}"
            file.write_text(text.replace(mutant.old, mutant.new))
            caught = None
            for test in held(mutant):
                if caught := first_failure((test,), folder):
                    break
            file.write_text(text)
            escaped += caught is None
            say(f"{mutant.fault} ({mutant.file}): {caught or 'ESCAPED'}", flush=True)
    return int(escaped > 0)


if __name__ == "__main__":
    sys.exit(main())
