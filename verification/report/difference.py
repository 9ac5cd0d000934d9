"""What became of a report: two of them held against each other, check by check.

Checks and faults are the same in both where their ids are (`verification.report.identity`). What is
better or only different is told; what is worse fails: a verdict, a budget that grew, a fault that
escapes, and whatever is no longer there.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from verification.report.identity import check_id, fault_id, reproduction_id
from verification.report.reproductions import verdict_of
from verification.report.summary import format_number, number

__all__ = ["FACTOR", "NOISE", "Change", "as_dict", "compare", "render"]

# An error is told of when it changed by this factor and by this much: of epsilons, of the error of
# the control, or of bits. Rounding alone moves the error of an unchanged program by about that.
FACTOR = 2.0
NOISE = 1.0
RANK = {"PASS": 0, "SKIPPED": 1, "MISTRUSTED": 2, "FAIL": 3}
# Of a result of a paper; one whose sources have changed is judged when it is measured again.
REPRODUCED = {"PASS": 0, "NOT RUN": 0, "FAIL": 1}
RUN = ("command", "commit", "device", "seed")
# In the order in which they are told.
KINDS = {
    "verdict": "Verdicts",
    "budget": "Budgets",
    "fault": "Faults",
    "name": "Names",
    "check": "Checks",
    "error": "Errors",
    "reproduction": "Results of papers",
    "run": "What was run",
}


class Change(NamedTuple):
    """One difference between two reports.

    Attributes:
        kind: Row of KINDS.
        subject: Id of what changed.
        text: What became of it.
        worse: Whether it is a change for the worse.
    """

    kind: str
    subject: str
    text: str
    worse: bool = False


def compare(
    old: dict[str, Any], new: dict[str, Any], factor: float = FACTOR, pattern: str = ""
) -> list[Change]:
    """Return what changed from one report to another, the worse of each kind first.

    Args:
        old: Document of the earlier run.
        new: Document of the later run.
        factor: By how much an error must grow or shrink to be told of.
        pattern: Part of the ids of what is compared; everything if empty.

    Raises:
        ValueError: The factor is not above 1.
    """
    if not factor > 1:
        raise ValueError(f"the factor is {factor}; it must be above 1")
    changes = [*_names(old, new), *_checks(old, new, factor), *_faults(old, new)]
    changes += [*_reproductions(old, new), *_run(old, new)]
    order = list(KINDS)
    chosen = [one for one in changes if pattern in one.subject or one.kind == "run"]
    return sorted(chosen, key=lambda one: (order.index(one.kind), not one.worse))


def render(changes: list[Change]) -> str:
    """Return the changes as lines of text, and in the last how many there are."""
    lines = []
    for kind, title in KINDS.items():
        chosen = [one for one in changes if one.kind == kind]
        if chosen:
            lines += [title]
            lines += [
                f"  {'WORSE ' if one.worse else ''}{one.subject}: {one.text}" for one in chosen
            ]
            lines += [""]
    worse = sum(one.worse for one in changes)
    return "\n".join([*lines, f"differences: {len(changes)}, for the worse: {worse}"]) + "\n"


def _line(one: Change) -> str:
    return f"  {'WORSE ' if one.worse else ''}{one.subject}: {one.text}"


def as_dict(changes: list[Change], factor: float) -> dict[str, Any]:
    """Return the changes as plain values, for `--json`."""
    return {
        "worse": any(one.worse for one in changes),
        "factor": factor,
        "noise": NOISE,
        "changes": [one._asdict() for one in changes],
    }


def _names(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    before, after = (dict.fromkeys(one["name"] for one in report["names"]) for report in (old, new))
    yield from (Change("name", name, "is new") for name in after if name not in before)
    yield from (Change("name", name, "VANISHED", True) for name in before if name not in after)


def _checks(old: dict[str, Any], new: dict[str, Any], factor: float) -> Iterator[Change]:
    before = {check_id(result): result for result in old["results"]}
    after = {check_id(result): result for result in new["results"]}
    for one, result in after.items():
        if one in before:
            yield from _check(one, before[one], result, factor)
            continue
        verdict = result["verdict"]
        yield Change("check", one, f"is new: {verdict}", RANK[verdict] > RANK["SKIPPED"])
    for one in before:
        if one not in after:
            yield Change("check", one, "VANISHED", True)


def _check(
    subject: str, before: dict[str, Any], after: dict[str, Any], factor: float
) -> Iterator[Change]:
    was, now = before["verdict"], after["verdict"]
    if was != now:
        yield Change("verdict", subject, f"{was} -> {now}", RANK[now] > RANK[was])
    units = before.get("unit"), after.get("unit")
    if units[0] != units[1]:
        # A budget in another unit cannot be said to be the smaller one.
        yield Change("budget", subject, f"UNIT CHANGED: {units[0]} -> {units[1]}", True)
        return
    yield from _budget(subject, before, after)
    change = _direction(number(before.get("error")), number(after.get("error")), factor)
    if change:
        shown = f"{_shown(before, 'error')} -> {_shown(after, 'error')} {units[0] or ''}".rstrip()
        yield Change("error", subject, f"{change}: {shown}")


def _budget(subject: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    was, now = _limit(before), _limit(after)
    if was != now:
        grew = now > was
        shown = f"{_shown(before, 'budget')} -> {_shown(after, 'budget')} {after.get('unit') or ''}"
        text = f"{'BUDGET GREW' if grew else 'shrank'}: {shown}".rstrip()
        yield Change("budget", subject, text, grew)


def _limit(result: dict[str, Any]) -> float:
    """Return a budget; none at all, or one that is not a number, allows everything."""
    budget = number(result.get("budget"))
    return math.inf if budget is None or math.isnan(budget) else budget


def _shown(result: dict[str, Any], key: str) -> str:
    return format_number(result.get(key))


def _direction(before: float | None, after: float | None, factor: float) -> str:
    """Say whether an error grew or shrank by more than noise, or nothing."""
    if before is None or after is None:
        return ""
    # What is not a number is the largest error there is.
    was, now = (math.inf if math.isnan(value) else value for value in (before, after))
    small, large = min(was, now), max(was, now)
    if small == large or large < factor * small or large - small < NOISE:
        return ""
    return "grew" if now > was else "shrank"


def _faults(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    before = {fault_id(fault): fault["caught"] for fault in old["faults"]}
    after = {fault_id(fault): fault["caught"] for fault in new["faults"]}
    for one, caught in after.items():
        said = "caught" if caught else "ESCAPES"
        if one not in before:
            yield Change("fault", one, f"is new: {said}", not caught)
        elif before[one] != caught:
            yield Change("fault", one, "is now caught" if caught else "ESCAPES now", not caught)
    for one in before:
        if one not in after:
            yield Change("fault", one, "VANISHED", True)


def _reproductions(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    before, after = (
        {reproduction_id(entry): verdict_of(entry) for entry in report["reproductions"]}
        for report in (old, new)
    )
    for one, verdict in after.items():
        if one not in before:
            yield Change("reproduction", one, f"is new: {verdict}", verdict == "FAIL")
        elif before[one] != verdict:
            worse = REPRODUCED[verdict] > REPRODUCED[before[one]]
            yield Change("reproduction", one, f"{before[one]} -> {verdict}", worse)
    for one in before:
        if one not in after:
            yield Change("reproduction", one, "VANISHED", True)


def _run(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    pairs: Iterable[tuple[str, Any, Any]] = [(key, old.get(key), new.get(key)) for key in RUN]
    for group in ("versions", "sources"):
        before, after = old.get(group) or {}, new.get(group) or {}
        known = dict.fromkeys([*before, *after])
        pairs = [*pairs, *((f"{group}: {key}", before.get(key), after.get(key)) for key in known)]
    for subject, was, now in pairs:
        if was != now:
            yield Change("run", subject, f"{_said(was)} -> {_said(now)}")


def _said(value: Any) -> str:
    return "unknown" if value is None else str(value)
