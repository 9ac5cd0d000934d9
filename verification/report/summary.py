"""What the table and the page both need to know of a results document."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

DTYPES = ("float64", "float32", "tf32", "bfloat16")
SEVERITY = ("FAIL", "MISTRUSTED", "PASS", "SKIPPED")
NOT_RUN = "NOT RUN"


class NameSummary(NamedTuple):
    """Everything the document says about one dotted name."""

    entry: dict[str, Any]
    results: list[dict[str, Any]]
    faults: list[dict[str, Any]]
    verdict: str
    worst: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        """The dotted name."""
        return self.entry["name"]

    @property
    def caught(self) -> int:
        """How many of the faults planted in this name were caught."""
        return sum(bool(fault["caught"]) for fault in self.faults)


def number(value: Any) -> float | None:
    """Returns a number of the document as a float: 'inf', '-inf' and 'nan' are read, None stays."""
    return None if value is None else float(value)


def format_number(value: Any) -> str:
    """Returns a number with three significant digits, or '-' where there is none."""
    value = number(value)
    return "-" if value is None else f"{value:.3g}"


def primary_unit(dtype: str) -> str:
    """Returns the unit in which errors of this dtype are summarised."""
    return "eps" if dtype == "float64" else "ratio to control"


def used_budget(result: dict[str, Any]) -> float:
    """Returns error/budget; infinite where either is missing or nan, or the budget is 0."""
    error, budget = number(result.get("error")), number(result.get("budget"))
    if error is None or math.isnan(error) or budget is None or math.isnan(budget):
        return math.inf
    if budget > 0:
        return error / budget
    return 0.0 if error == 0 else math.inf


def worst_result(results: Iterable[dict[str, Any]], dtype: str) -> dict[str, Any] | None:
    """Returns the result of this dtype that uses most of its budget.

    Results in the dtype's own unit go before the rest (bits of an equivalence say nothing about
    accuracy); skipped ones have measured nothing.
    """
    ran = [r for r in results if r["dtype"] == dtype and r["verdict"] != "SKIPPED"]
    candidates = [r for r in ran if r.get("unit") == primary_unit(dtype)] or ran
    if not candidates:
        return None
    return max(candidates, key=lambda r: (r["verdict"] == "FAIL", used_budget(r)))


def combined_verdict(results: list[dict[str, Any]], faults: list[dict[str, Any]]) -> str:
    """Returns the most severe verdict; checks that let a planted fault live are MISTRUSTED."""
    verdicts = {result["verdict"] for result in results}
    if any(not fault["caught"] for fault in faults):
        verdicts.add("MISTRUSTED")
    return next((verdict for verdict in SEVERITY if verdict in verdicts), NOT_RUN)


def summarise(document: dict[str, Any]) -> list[NameSummary]:
    """Returns one summary per dotted name, in the document's order.

    A name that only a result or a fault mentions is appended, so that nothing measured is lost.
    """
    entries = {entry["name"]: entry for entry in document["names"]}
    for name in [r["name"] for r in document["results"]] + [
        f["target"] for f in document["faults"]
    ]:
        entries.setdefault(name, {"name": name})
    summaries = []
    for name, entry in entries.items():
        results = [r for r in document["results"] if r["name"] == name]
        faults = [f for f in document["faults"] if f["target"] == name]
        found = {dtype: worst_result(results, dtype) for dtype in present_dtypes(results)}
        worst = {dtype: result for dtype, result in found.items() if result is not None}
        verdict = combined_verdict(results, faults)
        summaries.append(NameSummary(entry, results, faults, verdict, worst))
    return summaries


def present_dtypes(results: Iterable[dict[str, Any]]) -> list[str]:
    """Returns the dtypes that occur, float64 first, unknown ones last."""
    found = {result["dtype"] for result in results}
    return [d for d in DTYPES if d in found] + sorted(found.difference(DTYPES))


def failures(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the failed and the mistrusted results, failed ones first."""
    results = document["results"]
    return [r for verdict in ("FAIL", "MISTRUSTED") for r in results if r["verdict"] == verdict]


def survivors(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the planted faults that no check caught."""
    return [fault for fault in document["faults"] if not fault["caught"]]


def check_of(result: dict[str, Any]) -> str:
    """Returns the kind of a check, and which of several of its kind it is."""
    return f"{result['kind']}: {result['label']}" if result.get("label") else result["kind"]


def describe_error(result: dict[str, Any]) -> str:
    """Returns 'error 12 of budget 8 eps' for one result."""
    unit = result.get("unit") or ""
    error, budget = format_number(result.get("error")), format_number(result.get("budget"))
    return f"error {error} of budget {budget} {unit}".rstrip()
