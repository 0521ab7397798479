"""Find and repair disagreements between studies and MLflow.  Run: python -m search.doctor

The next sweep of a study repairs what a dead one left. This command does the same without training, and also finds what
no sweep looks for: runs without a trial, trials without a run, two runs of one trial, epochs that one side lacks. It is
safe to run at any time, also while sweeps run, and to run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.fields import allowed
from experiments.config import default_tracking_uri
from search.config import SweepConfig
from search.repair.findings import Finding


def parser() -> Parser:
    made = Parser("search.doctor", "Find and repair disagreements between studies and MLflow. Safe to run twice.")
    add = made.add_argument
    made.add_field(SweepConfig, "study", metavar="NAME", help="only this study (default: all in the storage)")
    add("--storage", default=SweepConfig.storage, metavar="URL", help=f"Optuna storage (default {SweepConfig.storage})")
    add("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    add("--dry-run", action="store_true", help="only report, change nothing; exit 1 if there is something to repair")
    add(
        "--takeover-after",
        type=allowed(SweepConfig, "takeover_after"),
        default=SweepConfig.takeover_after,
        metavar="SECONDS",
        help="after how long without a heartbeat a trial of another host is abandoned "
        f"(default {SweepConfig.takeover_after})",
    )
    return made


def _lines(findings: Sequence[Finding], *, dry_run: bool) -> Iterator[str]:
    for finding in findings:
        place = f"{finding.study}, trial {finding.trial}" if finding.trial is not None else finding.study
        run_id = f" (run {finding.run_id})" if finding.run_id else ""
        mark = "repaired" if finding.mended else "found" if dry_run else "unrepaired"
        yield f"  {mark:<10} {place}: {finding.problem}{run_id}: {finding.remedy}"
    mended = sum(finding.mended for finding in findings)
    yield f"{len(findings)} disagreement{'' if len(findings) == 1 else 's'}, {mended} repaired."


def _body(arguments: argparse.Namespace) -> int:
    from search.repair.examination import examine

    findings = examine(
        arguments.storage,
        arguments.tracking_uri or default_tracking_uri(),
        study=arguments.study,
        takeover_after=arguments.takeover_after,
        dry_run=arguments.dry_run,
    )
    mended = sum(finding.mended for finding in findings)
    if arguments.json:
        print_json({"study": arguments.study, "findings": [asdict(one) for one in findings], "mended": mended})
    else:
        for line in _lines(findings, dry_run=arguments.dry_run):
            say(line)
    return 0 if mended == len(findings) else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
