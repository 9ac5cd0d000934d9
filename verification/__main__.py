"""Command line: run, list, show NAME, check, faults, report, reproduce, diff, cite, publish."""

import argparse
import inspect
import shlex
import sys
from pathlib import Path
from typing import Any

from verification import publication
from verification.conformance import command as conformance
from verification.runner import Options, Task, prepare, run, tasks

FOLDER = Path(__file__).resolve().parent / "report"
OUTPUT = FOLDER / "latest"


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m verification", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run checks and faults, and write the report")
    trying = commands.add_parser("faults", help="try the catalogue of wrong versions alone")
    listing = commands.add_parser("list", help="list the checks")
    for command in (running, trying, listing):
        command.add_argument("-k", dest="pattern", default="", help="part of the title")
    for command in (running, trying):
        command.add_argument("--seed", type=int, default=0, help="seed of all inputs")
        command.add_argument("--processes", type=int, default=Options.processes)
    running.add_argument("--dtype", action="append", choices=Options.dtypes)
    running.add_argument("--long", action="store_true", help="ten times as many steps")
    running.add_argument("--no-faults", action="store_true", help="leave out the wrong versions")
    showing = commands.add_parser("show", help="equation, both sources and last result of a name")
    showing.add_argument("name")
    commands.add_parser("report", help="render the report of the last run anew")
    again = commands.add_parser("reproduce", help="measure results of papers again (minutes)")
    again.add_argument("-k", dest="pattern", default="", help="part of the title")
    again.add_argument("--processes", type=int, default=Options.processes)
    checking = commands.add_parser("check", help="hold any optimizer against a reference")
    conformance.add_arguments(checking)
    publication.add_commands(commands)
    given = parser.parse_args(arguments)
    # What takes long gains more from optimized code than compiling it costs.
    prepare(optimized=given.command == "reproduce" or getattr(given, "long", False))
    return {
        "run": _run,
        "faults": _faults,
        "list": _list,
        "show": _show,
        "report": _report,
        "reproduce": _reproduce,
        "check": conformance.check,
        **publication.COMMANDS,
    }[given.command](given)


def _run(given: argparse.Namespace) -> int:
    options = Options(
        pattern=given.pattern,
        dtypes=tuple(given.dtype or Options.dtypes),
        seed=given.seed,
        long=given.long,
        faults=not given.no_faults,
        processes=given.processes,
    )
    if not tasks(options):
        print(f"no check has {given.pattern!r} in its title; see: python -m verification list")
        return 1
    whole = not (given.pattern or given.dtype or given.no_faults)
    return _run_and_report(options, whole=whole)


def _run_and_report(options: Options, *, whole: bool) -> int:
    from verification.document import compose, tree_of_sources
    from verification.report import render_table, write_report

    tree = tree_of_sources()  # Sources may change while it runs.
    results, faults = run(options, _progress)
    print(file=sys.stderr)
    document = compose(results, faults, options.seed, _command(), _reproductions(), tree)
    page = write_report(document, OUTPUT if whole else OUTPUT.with_name("partial"))
    print(render_table(document))
    print(f"report: {page}")
    escaped = [fault for fault in faults if not fault["caught"]]
    for fault in escaped:
        print(f"NOT CAUGHT {fault['target']}: {fault['name']} ({fault['source']})")
        print(f"  python -m verification faults -k {fault['target']} --seed {options.seed}")
    return int(bool(escaped) or any(result.failed for result in results))


def _command() -> str:
    return shlex.join(["python", "-m", "verification", *sys.argv[1:]])


def _reproductions() -> list[dict[str, Any]]:
    from verification.report import reproductions

    return reproductions.read(OUTPUT.parent, reproductions.digest())


def _progress(done: int, total: int, task: Task) -> None:
    line = f"[{done}/{total}] {task.kind} {task.dtype} {task.title}"
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)
    elif done % 20 == 0 or done == total:
        print(line, file=sys.stderr, flush=True)


def _faults(given: argparse.Namespace) -> int:
    options = Options(pattern=given.pattern, seed=given.seed, processes=given.processes)
    import verification.runner as runner

    chosen = [task for task in tasks(options) if task.kind == "fault"]
    escaped = 0
    for task, outcome in runner.outcomes(chosen, options):
        escaped += not outcome["caught"]
        verdict = "caught" if outcome["caught"] else "NOT CAUGHT"
        print(f"{verdict:10} {task.title} by {outcome['by'] or 'nothing'}", flush=True)
    print(f"{len(chosen) - escaped} of {len(chosen)} caught")
    return int(escaped > 0)


def _list(given: argparse.Namespace) -> int:
    for task in tasks(Options(pattern=given.pattern)):
        print(f"{task.kind:6} {task.dtype:9} {task.title}")
    return 0


def _show(given: argparse.Namespace) -> int:
    from verification import registry

    names = registry.reference_names()
    if given.name not in names:
        print(f"{given.name!r} is not a name; the names are:", *names, sep="\n  ")
        return 1
    note = registry.notes().get(given.name)
    if note:
        print(f"# {note.path}\n\n{note.text}\n")
    for title, find in (("reference", registry.reference), ("production", registry.production)):
        function = find(given.name)
        print(f"# {title}: {inspect.getsourcefile(function)}\n\n{inspect.getsource(function)}")
    for result in _last().get("results", []):
        if result["name"] == given.name:
            print(
                f"{result['verdict']:10} {result['kind']} {result['dtype']} {result['label']}: "
                f"{result['error']} of {result['budget']} {result['unit']} at {result['where']}"
            )
    return 0


def _last() -> dict[str, Any]:
    from verification.report import read_report

    path = OUTPUT / "report.json"
    return read_report(path) if path.exists() else {}


def _report(given: argparse.Namespace) -> int:
    del given
    from verification.report import render_table, write_report

    document = _last()
    if not document:
        print("there is no report yet; run: python -m verification run")
        return 1
    document["reproductions"] = _reproductions()
    print(render_table(document))
    print(f"report: {write_report(document, OUTPUT)}")
    return 0


def _reproduce(given: argparse.Namespace) -> int:
    """Measure results of papers again, keep them, and write them into the last whole report.

    Where there is none yet, they make a partial one by themselves.
    """
    from verification.document import compose, provenance
    from verification.report import reproductions, write_report
    from verification.reproductions import REPRODUCTIONS, chosen, reproduce

    titles = [one.title for one in REPRODUCTIONS]
    if not chosen(given.pattern):
        print(f"no title has {given.pattern!r} in it; the titles are:", *titles, sep="\n  ")
        return 1
    sources = reproductions.digest()
    entries = reproduce(given.processes, given.pattern)
    reproductions.write(entries, provenance(_command()), OUTPUT.parent, sources, titles)
    for entry in entries:
        print(f"{reproductions.verdict_of(entry)} {entry['title']}")
        for row in entry["rows"]:
            limits = [f"{x} {row[x]}" for x in ("at least", "at most") if row[x] is not None]
            measured = f"{row['measured']:.4g} ({', '.join(limits)})"
            print(f"  {row['verdict']} {row['criterion']}: {measured}")
    document, folder = _last(), OUTPUT
    if not document:
        document, folder = compose([], [], 0, _command()), OUTPUT.with_name("partial")
    document["reproductions"] = _reproductions()
    print(f"report: {write_report(document, folder)}")
    return int(not all(entry["passed"] for entry in entries))


if __name__ == "__main__":
    sys.exit(main())
