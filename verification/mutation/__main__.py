"""Command line: draw mutants of families, or name them, and try them."""

import argparse
import random
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from verification.mutation.equivalents import Equivalents, equivalents
from verification.mutation.judging import Judgement, judge_with
from verification.mutation.mutant import FAMILIES, Mutant, modules_of, mutants
from verification.mutation.outcome import counts, keep
from verification.mutation.reach import digest, reaches
from verification.mutation.workers import judged_by_several
from verification.runner import prepare

# Mutants of a module that one process takes at a time.
BATCH = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Try mutants and print what survived; the exit status says if too many did."""
    given = _parsed(arguments)
    prepare()
    argued = equivalents()
    drawn, sources = _drawn(given), digest()
    reaches(given.seed)
    shares = []
    for family, chosen in drawn.items():
        figures = counts(list(_judged(chosen, given, argued)), argued)
        shares.append(_told(family, figures))
        if not given.line and not given.module:
            keep({family: figures}, given.seed, _command(arguments), sources)
    return int(min(shares) < given.at_least)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m verification.mutation", description=__doc__)
    parser.add_argument("--family", action="append", choices=FAMILIES, help="all if none is named")
    parser.add_argument("--module", action="append", help="dotted names below the package")
    parser.add_argument("--line", action="append", help="MODULE:NUMBER, all mutants of the line")
    parser.add_argument("--count", type=int, default=100, help="mutants to draw of each family")
    parser.add_argument("--all", action="store_true", help="every mutant, without a draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw and of all inputs")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=0.98, help="share to be killed or argued")
    given = parser.parse_args(arguments)
    if given.all:
        given.count = None
    return given


def _drawn(given: argparse.Namespace) -> dict[str, list[Mutant]]:
    """Return the mutants to try, by family or under one title."""
    if given.line:
        places = [place.rpartition(":") for place in given.line]
        named = [m for name, _, line in places for m in mutants(name) if m.line == int(line)]
        return {"lines": named}
    if given.module:
        return {name: _sample(mutants(name), given) for name in given.module}
    return {
        family: _sample([m for name in modules_of(family) for m in mutants(name)], given)
        for family in given.family or FAMILIES
    }


def _sample(every: Sequence[Mutant], given: argparse.Namespace) -> list[Mutant]:
    if given.count is None or given.count >= len(every):
        return list(every)
    chosen = random.Random(given.seed).sample(range(len(every)), given.count)
    return [every[number] for number in sorted(chosen)]


def _judged(
    chosen: Sequence[Mutant], given: argparse.Namespace, argued: Equivalents
) -> Iterator[Judgement]:
    """Yield what becomes of the mutants; one that is argued to compute the same is not tried."""
    tried = [mutant for mutant in chosen if not argued.reason(mutant)]
    for mutant in chosen:
        if reason := argued.reason(mutant):
            yield _printed(Judgement(mutant, False, f"the same: {reason}", 0.0))
    if given.processes <= 1:
        one = judge_with(given.seed)
        yield from (_printed(one(mutant)) for mutant in tried)
        return
    several = partial(judge_with, given.seed)
    batches = [list(batch) for _, group in groupby(tried, _module) for batch in _cut(list(group))]
    yield from map(_printed, judged_by_several(batches, several, given.processes))


def _module(mutant: Mutant) -> str:
    return mutant.module


def _cut(group: list[Mutant]) -> Iterator[list[Mutant]]:
    for first in range(0, len(group), BATCH):
        yield group[first : first + BATCH]


def _printed(one: Judgement) -> Judgement:
    verdict = "killed" if one.killed else "SURVIVED"
    if one.by.startswith("the same: "):
        verdict = "argued"
    print(f"{verdict:8} {one.mutant.title} ({one.seconds:.1f} s) {one.by}", flush=True)
    return one


def _told(family: str, figures: dict[str, object]) -> float:
    """Print the figures of a family, and return the share that is killed or argued."""
    drawn, killed, argued = (int(str(figures[key])) for key in ("drawn", "killed", "argued"))
    print(f"{family}: {killed} of {drawn} killed, {argued} argued, {drawn - killed - argued} left")
    return (killed + argued) / max(drawn, 1)


def _command(arguments: Sequence[str] | None) -> str:
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", "verification.mutation", *given])


if __name__ == "__main__":
    sys.exit(main())
