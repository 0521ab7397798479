"""Print the result of a verification."""

from __future__ import annotations

from architectures.display import say
from conversion.verification.evidence import Evidence
from conversion.verification.threshold import THRESHOLD_DIGITS


def show(evidence: Evidence, *, verbose: bool = True) -> None:
    """Print checks, weights and the results of running the file; unless `verbose`, only count passed checks."""
    for one in evidence.checks:
        if verbose or not one.passed:
            detail = "" if one.passed else f"  expected {one.expected}, found {one.found}"
            say(f"  {'ok  ' if one.passed else 'FAIL'} {one.name}{detail}")
    passed = sum(one.passed for one in evidence.checks)
    if passed and not verbose:
        say(f"  ok   {passed} of {len(evidence.checks)} properties of the file; --verbose lists them")
    if evidence.weights:
        obeyed = sum(not weight.fault for weight in evidence.weights)
        complete = obeyed == len(evidence.weights)
        say(
            f"  {'ok  ' if complete else 'FAIL'} weights  {obeyed} of {len(evidence.weights)} tensors are the model's, "
            f"compression {evidence.compression}"
        )
    else:
        say("  -    weights  not compared")
    for part in evidence.original:
        say(
            f"  {part.split}: {part.images} images executed, accuracy of the file {part.file_accuracy:.4f} "
            f"(model {part.model_accuracy:.4f})"
        )
    for refused in evidence.refusals:
        say(f'  "I do not know" below {evidence.threshold:.{THRESHOLD_DIGITS}f}, {refused.text}')
    if evidence.differences:
        say(f"  {'differences of probabilities':37} {'split':5} {'largest':>8} {'allowed':>8} {'labels differ':>14}")
    for against, part in evidence.differences:
        allowed = "any" if part.allowance is None else f"{part.allowance:.1e}"
        say(f"  {against:37} {part.split:5} {part.max_difference:8.1e} {allowed:>8} {part.label_flips:14}")
    for name, exact, halved in evidence.arithmetic_rows:
        say(f"  {name:37} {exact:>8}  {halved}".rstrip())
    if evidence.half:
        say(f"  {evidence.half.text}")
    say(f"  Apple's runtime: {evidence.native.status}")
    if evidence.test_look:
        say(f"  This was {evidence.test_look.text}.")
