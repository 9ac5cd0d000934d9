"""The table that a run prints."""

from verification.peers.checks import LIMIT, LIMIT_REASON, Outcome, Peer

HEADINGS = ("peer", "version", "method", "options", "steps", "parties", "y", "z", "x", "verdict")
NUMBERS = ("steps", "y", "z", "x")


def rows(peer: Peer, outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    """One row of the table per outcome, or one that says that the peer is not installed."""
    versions = peer.versions()
    if versions is None:
        missing = " and ".join(peer.distributions)
        return [(peer.name, "-", f"needs {missing}", *"------", "not installed")]
    version = versions[peer.distributions[0]]
    return [(peer.name, version, *_cells(outcome)) for outcome in outcomes]


def _cells(outcome: Outcome) -> tuple[str, ...]:
    worst = (f"{value:.1e}" for value in outcome.comparison.worst)
    steps = str(len(outcome.comparison.differences))
    parties = " - ".join(outcome.pair)
    return (
        outcome.check.method,
        outcome.check.options,
        steps,
        parties,
        *worst,
        outcome.verdict,
    )


def render(table: list[tuple[str, ...]]) -> str:
    """Aligned text with headings."""
    cells = [HEADINGS, *table]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(map(_padded, row, widths, HEADINGS)).rstrip() for row in cells]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:], rule])


def _padded(cell: str, width: int, heading: str) -> str:
    return cell.rjust(width) if heading in NUMBERS else cell.ljust(width)


def limit_line() -> str:
    """The limit and its reason."""
    return f"y, z, x: worst relative difference over the steps. Limit {LIMIT:g}. {LIMIT_REASON}"


def difference_line(outcome: Outcome) -> str | None:
    """Since which step and by how much a pair differs; None if it does not."""
    comparison = outcome.comparison
    first = comparison.first_step_over(LIMIT)
    if first is None:
        return None
    x = [row[2] for row in comparison.differences]
    step = x.index(max(x)) + 1
    check = outcome.check
    return (
        f"{outcome.verdict}: {check.method} ({check.options}), {' - '.join(outcome.pair)}: "
        f"different from step {first}; x by {max(x):.2%} of its norm at step {step}, "
        f"{x[-1]:.2%} after {len(x)} steps. {check.note}".rstrip()
    )
