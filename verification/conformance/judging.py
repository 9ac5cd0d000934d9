"""The verdict on a recording: equal, equal under rows of a table, or different."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from verification.conformance.convention import Convention
from verification.conformance.recording import Leaves, Recording
from verification.conformance.trial import Rows, Trial
from verification.conformance.verdict import Conformance, Departure, Verdict

__all__ = ["judge"]

Rerun = Callable[[Sequence[Leaves]], Recording]
# Rows that do not explain the first of these many steps do not explain more.
SCREENED_STEPS = (2, 6)
# How much more float32 rounds than float64.
FLOAT32 = 2.0**29


def judge(
    recording: Recording,
    against: str,
    options: Mapping[str, Any] | None = None,
    *,
    explain: bool = True,
    rerun: Rerun | None = None,
    draws: Mapping[str, Any] | None = None,
) -> Conformance:
    """Hold what an optimizer did against a reference.

    Args:
        recording: What it did.
        against: Name of the reference, short or dotted; see `targets.TARGETS`.
        options: Of the reference.
        explain: Whether to try conventions where it is not equal, which takes seconds.
        rerun: The optimizer again, from the parameters that it is given before each step, for
            the teacher-forced comparison.
        draws: Options with which the reference repeats the random numbers that the optimizer
            drew, such as `draws.ours` returns; None if they are not known.

    Returns:
        The verdict.

    Raises:
        ValueError: There is no such reference, or it does not allow an option.
        TypeError: It has no such option.
    """
    trial = Trial(recording, against, options or {}, draws)
    if recording.steps == 0:
        return _never_stepped(trial)
    departure, forced, worst = _compared(trial, (), rerun)
    said: dict[str, Any] = {
        "against": trial.target.name,
        "options": trial.options,
        "steps": recording.steps,
        "departure": departure,
        "forced": forced,
        "worst": worst,
    }
    doubt = trial.doubt()
    if departure is None and forced is None:
        said["indistinguishable"] = _not_told_apart(trial, ())
        verdict = Verdict.UNDECIDED if doubt else Verdict.EQUAL
        return Conformance(verdict=verdict, reason=doubt, **said)
    if recording.raised or trial.draws_unknown:
        return Conformance(verdict=Verdict.DIFFERENT, **said)
    rows = _explanation(trial) if explain else ()
    if not rows:
        said |= _nearest(trial, departure) if explain else {}
        return Conformance(verdict=Verdict.DIFFERENT, reason=_remark(worst), **said)
    still, still_forced, said["worst"] = _compared(trial, rows, rerun)
    if still or still_forced:
        said |= {"nearest": _names(rows), "nearest_departure": still or still_forced}
        return Conformance(verdict=Verdict.DIFFERENT, **said)
    said |= {
        "conventions": _names(rows),
        "sentences": tuple(f"{row.name}: {row.sentence} ({_source(row.source)})" for row in rows),
        "indistinguishable": _not_told_apart(trial, rows),
    }
    if not all(row.source for row in rows):
        return Conformance(verdict=Verdict.DIFFERENT, **said)
    verdict = Verdict.UNDECIDED if doubt else Verdict.CONVENTION
    return Conformance(verdict=verdict, reason=doubt, **said)


def _compared(
    trial: Trial, rows: Rows, rerun: Rerun | None
) -> tuple[Departure | None, Departure | None, float]:
    """Return the departures of the free and of the forced run, and the worst distance in limits."""
    path = trial.path(rows)
    assert path is not None
    departure, worst = trial.departure(rows, path)
    if trial.recording.raised and departure is None:
        departure = _raised(trial)
    if rerun is None or trial.recording.raised:
        return departure, None, worst
    forced, forced_worst = trial.forced(rows, path, rerun)
    return departure, forced, max(worst, forced_worst)


def _never_stepped(trial: Trial) -> Conformance:
    return Conformance(
        against=trial.target.name,
        options=trial.options,
        steps=0,
        verdict=Verdict.DIFFERENT,
        departure=_raised(trial),
    )


def _raised(trial: Trial) -> Departure:
    infinity = float("inf")
    step = trial.recording.steps + 1
    return Departure(step, trial.recording.raised, "", infinity, infinity, infinity)


def _explains(trial: Trial, rows: Rows) -> bool:
    """Say whether the recording is the reference under these rows."""
    if any(trial.leaves_near(rows, steps) != trial.leaves for steps in (SCREENED_STEPS[0], None)):
        return False
    path = trial.path(rows)
    return path is not None and trial.departure(rows, path)[0] is None


def _explanation(trial: Trial) -> Rows:
    """Return the fewest rows under which the reference is equal, or none.

    Those of a published source come before mistakes. Where two rows do not do, leaves are taken
    one after another, since matrices and vectors may each follow conventions of their own.
    """
    rows = _candidates(trial)
    for one in rows:
        if _explains(trial, (one,)):
            return (one,)
    by_rows: dict[Rows, set[str]] = {}
    for chosen in [*((one,) for one in rows), *combinations(rows, 2)]:
        near = _near(trial, chosen)
        if near == trial.leaves and _explains(trial, chosen):
            return chosen
        by_rows[chosen] = near
    joined = _joined(trial, rows, by_rows)
    if not _explains(trial, joined):
        return ()
    for row in joined:
        fewer = tuple(other for other in joined if other is not row)
        if _explains(trial, fewer):
            joined = fewer
    return joined


def _near(trial: Trial, rows: Rows) -> set[str]:
    """Return the leaves that rows explain in the first steps."""
    near = trial.leaves
    for steps in SCREENED_STEPS:
        near = near and trial.leaves_near(rows, steps)
    return near


def _joined(trial: Trial, rows: Sequence[Convention], by_rows: Mapping[Rows, set[str]]) -> Rows:
    """Return rows that explain one leaf after another: what is known to, then one row at a time."""
    joined: Rows = ()
    near: set[str] = set()
    while near != trial.leaves:
        known = max(by_rows, key=lambda more: len(by_rows[more] - near))
        further = [known] if by_rows[known] - near else []
        grown = False
        for more in [*further, *((row,) for row in rows)]:
            tried = joined + tuple(row for row in more if row not in joined)
            found = _near(trial, tried)
            if len(found) > len(near):
                joined, near, grown = tried, found, True
        if not grown:
            return ()
    return joined


def _candidates(trial: Trial) -> list[Convention]:
    """Return the rows that change anything, those with a source before the mistakes."""
    rows = [row for row in trial.target.conventions if trial.applies(row)]
    return sorted(rows, key=lambda row: not row.source)


def _not_told_apart(trial: Trial, rows: Rows) -> tuple[str, ...]:
    """Name the rows that this run cannot tell from the verdict: more of them, or others."""
    if trial.draws_unknown:
        return ()
    found = []
    for row in _candidates(trial):
        if row not in rows:
            others = [rows + (row,)] + [(row,)] * (len(rows) == 1)
            if any(_explains(trial, other) for other in others):
                found.append(row.name)
    return tuple(found)


def _nearest(trial: Trial, departure: Departure | None) -> dict[str, Any]:
    """Return the row under which the departure is later, or smaller by a factor of ten."""

    def rank(one: Departure) -> tuple[int, float]:
        return -one.step, one.size

    best: tuple[Any, Departure] | None = None
    if departure is None:
        return {}
    for row, found in _departures(trial):
        later = found.step > departure.step
        smaller = found.step == departure.step and found.size < departure.size / 10
        if (later or smaller) and (best is None or rank(found) < rank(best[1])):
            best = row, found
    return {} if best is None else {"nearest": (best[0].name,), "nearest_departure": best[1]}


def _departures(trial: Trial) -> Iterator[tuple[Any, Departure]]:
    for row in _candidates(trial):
        path = trial.path((row,))
        if path is not None and (found := trial.departure((row,), path)[0]) is not None:
            yield row, found


def _remark(worst: float) -> str:
    """Say where a difference is as small as computing in float32 makes it."""
    if worst <= FLOAT32:
        return "It is no further away than computing in float32 would put it."
    return ""


def _names(rows: Rows) -> tuple[str, ...]:
    return tuple(row.name for row in rows)


def _source(source: str) -> str:
    return source or "a mistake; no paper or release is known to do so"
