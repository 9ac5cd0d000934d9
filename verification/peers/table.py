"""The findings as text."""

from collections.abc import Sequence

from verification.peers.findings import FAULTS, NOTED, Finding, count

__all__ = ["render"]

HEADINGS = ("optimizer", "probe", "verdict", "effect", "detail")
LONGEST = 90


def render(findings: Sequence[Finding], *, everything: bool = False) -> str:
    """Return the findings of each peer under its name, with a line of counts.

    Args:
        findings: Of all peers.
        everything: Whether to list what is "ok" too.
    """
    peers = list(dict.fromkeys(finding.peer for finding in findings))
    return "\n\n".join(
        _of_peer([f for f in findings if f.peer == peer], everything) for peer in peers
    )


def _of_peer(findings: Sequence[Finding], everything: bool) -> str:
    verdicts = dict.fromkeys(finding.verdict for finding in findings)
    counts = ", ".join(f"{count(findings, verdict)} {verdict}" for verdict in verdicts)
    shown = [f for f in findings if everything or f.verdict in (*FAULTS, NOTED)]
    cells = [HEADINGS, *map(_cells, shown)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]])
        for row in cells
    ]
    head = f"{findings[0].peer} {findings[0].version}: {counts}".replace(" :", ":")
    return "\n".join([head, *(["  " + line.rstrip() for line in lines] if shown else [])])


def _cells(finding: Finding) -> tuple[str, ...]:
    effect = "" if finding.effect is None else f"{finding.effect:.2g} {finding.unit}"
    detail = finding.detail if len(finding.detail) <= LONGEST else finding.detail[:LONGEST] + "..."
    probe = " / ".join(filter(None, [finding.probe, finding.case]))
    return (finding.optimizer, probe, finding.verdict, effect, detail)
