"""The self-contained page: it loads nothing, and reads the same without a script."""

import base64
import hashlib
from pathlib import Path
from string import Template
from typing import Any

from verification.report import mutants_found, peers_found, reproductions, speed
from verification.report.identity import fault_id
from verification.report.parts import (
    Markup,
    badge,
    definitions,
    name_link,
    self_link,
    table,
    text,
)
from verification.report.sections import name_section
from verification.report.summary import (
    NameSummary,
    check_of,
    describe_error,
    failures,
    format_number,
    present_dtypes,
    primary_unit,
    summarise,
    survivors,
)

# Of a digest, as many as tell one tree from another.
DIGITS = 16
_HERE = Path(__file__).parent
_TILES = (("passed", "pass"), ("failed", "fail"), ("mistrusted", "mistrusted"), ("skipped", ""))


def render_page(document: dict[str, Any], folder: Path) -> str:
    """Returns the whole report as one HTML page.

    Args:
        document: the results document (schema.json describes it).
        folder: where the page will lie; links to the sources are relative to it.

    Returns:
        HTML that fetches nothing; its content security policy forbids it to.
    """
    summaries = summarise(document)
    script = _data("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_data("page.html")).substitute(
        script=script,
        script_hash=digest,
        style=_data("style.css"),
        subtitle=_subtitle(document),
        run=_run(document),
        tiles=_tiles(document["summary"]),
        failures=_failures(document),
        names=_names_table(summaries),
        sections="\n".join(name_section(summary, folder) for summary in summaries),
        faults=_faults(document["faults"]),
        mutants=mutants_found.section(),
        peers=peers_found.section(),
        reproductions=reproductions.section(document["reproductions"]),
        speed=speed.section(),
        citation=_citation(document),
        methods=_data("methods.html"),
    )


def _data(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _subtitle(document: dict[str, Any]) -> str:
    version = document["versions"].get("rollfast")
    parts = [f"rollfast {version}" if version else "rollfast", document["date"], document["device"]]
    return text(" · ".join(parts))


def _run(document: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in document["versions"].items() if v)
    return definitions(
        [
            ("Date", document["date"]),
            ("Device", document["device"]),
            ("Versions", versions),
            ("Commit", document.get("commit")),
            ("Sources", _sources(document)),
            ("Seed", str(document["seed"])),
            ("Command", Markup(f"<code>{text(document['command'])}</code>")),
            ("Data", _data_of(document)),
        ]
    )


def _data_of(document: dict[str, Any]) -> Markup:
    return Markup(
        f"<code>report.json</code> beside this page, in form {text(document['schema'])} of "
        "<code>verification/report/schema.json</code>"
    )


def _sources(document: dict[str, Any]) -> str:
    """Digests of what was run, by which a report can be told to belong to a tree."""
    return ", ".join(
        f"{name} {digest[:DIGITS]}" for name, digest in (document.get("sources") or {}).items()
    )


def _citation(document: dict[str, Any]) -> str:
    version = document["versions"].get("rollfast") or "unreleased"
    commit = f", commit {document['commit']}" if document.get("commit") else ""
    return text(
        f"rollfast verification report, rollfast {version}{commit}, {document['date']}, "
        f"seed {document['seed']}, {document['device']}."
    )


def _tiles(summary: dict[str, int]) -> str:
    tiles = [
        (str(summary[key]), key, css if key == "passed" or summary[key] else "")
        for key, css in _TILES
    ]
    caught, total = summary["faults_caught"], summary["faults_total"]
    tiles.append((f"{caught}/{total}", "faults caught", "pass" if caught == total else "fail"))
    return "".join(
        f'<li class="tile {css}"><strong>{value}</strong> <span>{label}</span></li>'
        for value, label, css in tiles
    )


def _failures(document: dict[str, Any]) -> str:
    """Failed and mistrusted checks with their commands, and faults that nothing caught."""
    items = [_failure(result) for result in failures(document)]
    items += [
        f'<li class="failure">{badge("NOT CAUGHT")} {text(fault["name"])}: '
        f"a fault planted in {name_link(fault['target'])}</li>"
        for fault in survivors(document)
    ]
    if not items:
        return ""
    return (
        '<section id="section-failures"><h2>Failures</h2>'
        f'<ul class="failures">{"".join(items)}</ul></section>'
    )


def _failure(result: dict[str, Any]) -> str:
    place = ", ".join(text(p) for p in (result.get("field"), result.get("where")) if p)
    detail = f"<p>{text(result['detail'])}</p>" if result.get("detail") else ""
    command = f"<pre>{text(result['reproduce'])}</pre>" if result.get("reproduce") else ""
    return (
        f'<li class="failure">{badge(result["verdict"])} {name_link(result["name"])} '
        f"{text(check_of(result))}, {text(result['dtype'])}"
        f"<p>{text(describe_error(result))}{' at ' if place else ''}{place}</p>"
        f"{detail}{command}</li>"
    )


def _names_table(summaries: list[NameSummary]) -> str:
    found = set(present_dtypes(r for summary in summaries for r in summary.results))
    dtypes = present_dtypes({"dtype": d} for d in found | {"float64", "float32", "bfloat16"})
    headings: list[Any] = ["Name"]
    for dtype in dtypes:
        unit = "eps" if dtype == "float64" else "× control"
        headings.append(Markup(f"{text(dtype)} <small>{unit} / budget</small>"))
    headings += ["Faults caught", "Verdict"]
    rows = []
    for summary in summaries:
        faults = f"{summary.caught}/{len(summary.faults)}" if summary.faults else None
        cells = [_error_cell(summary.worst.get(dtype), dtype) for dtype in dtypes]
        rows.append([name_link(summary.name), *cells, faults, badge(summary.verdict)])
    numeric = range(1, len(dtypes) + 2)
    return table("Worst error of each name over its budget", headings, rows, numeric)


def _error_cell(worst: dict[str, Any] | None, dtype: str) -> Markup | None:
    if worst is None:
        return None
    unit = worst.get("unit")
    shown = "" if unit == primary_unit(dtype) else f" {text(unit or '')}"
    return Markup(
        f"{format_number(worst.get('error'))} "
        f'<span class="budget">/ {format_number(worst.get("budget"))}{shown}</span>'
    )


def _faults(faults: list[dict[str, Any]]) -> str:
    if not faults:
        return "<p>No fault was planted in this run.</p>"
    headings = ["Fault", "Planted in", "Where the bug lived", "Caught", "By", "Error"]
    ids = [fault_id(fault) for fault in faults]
    rows = [
        [
            self_link(fault["name"], identifier),
            name_link(fault["target"]),
            fault.get("source"),
            badge("CAUGHT" if fault["caught"] else "NOT CAUGHT"),
            fault.get("by"),
            format_number(fault.get("error")),
        ]
        for identifier, fault in zip(ids, faults, strict=True)
    ]
    return table("Kill table of the planted faults", headings, rows, (5,), ids)
