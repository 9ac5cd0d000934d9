"""Mutants are changes of the text that compile, and what is argued of them holds for them alone."""

import ast
import json
import os
import time

import pytest

from verification.conviction import convict, first_trial, passes_right
from verification.limit import limited
from verification.mutants import source_of
from verification.mutation.__main__ import main
from verification.mutation.equivalents import equivalents
from verification.mutation.judging import Judgement
from verification.mutation.mutant import FAMILIES, modules_of, mutants
from verification.mutation.outcome import counts, keep
from verification.mutation.reach import Reach
from verification.mutation.workers import judged_by_several
from verification.recall import recalled, recalling
from verification.registry import production

MODULE = "schedule_free.weighting"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_hundred_mutants_that_compile_and_differ(family):
    found = [mutant for module in modules_of(family) for mutant in mutants(module)]
    assert len(found) >= 100
    for mutant in found[::23]:
        assert ast.unparse(ast.parse(mutant.source)) != ast.unparse(
            ast.parse(source_of(mutant.module))
        )


def test_every_module_with_formulas_is_in_a_family():
    every = {name for family in FAMILIES for name in modules_of(family)}
    assert {"psgd.kron", "linalg.positive", "schedules", "guards", "trees.flat"} <= every
    assert "options" not in every


def test_the_kinds_of_changes_are_those_that_are_made():
    changes = {m.change.split(" in `")[0] for name in modules_of("psgd") for m in mutants(name)}
    wanted = ("MatMult to Mult", "triu to tril", "T dropped", "statement skipped", "Lt to LtE")
    assert set(wanted) <= changes
    assert "branches of where exchanged" in changes
    assert any(change.startswith("sides of") for change in changes)


def test_messages_checks_and_annotations_are_left_alone():
    for family in FAMILIES:
        for mutant in (m for name in modules_of(family) for m in mutants(name)):
            assert mutant.text.split(" ")[0] not in ("raise", "import", "from", "def", "class")
            assert not mutant.text.startswith(("check_", '"""'))


def test_what_is_argued_matches_a_mutant_and_says_why():
    assert all(reason.endswith(".") for reason in equivalents().reasons.values())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('line = "no such line"\nchanges = ["0 to 1 in `0`"]\nreason = "x."', "matches no mutant"),
        ('line = "x"\nchanges = []\nreason = "x."', "all full"),
        ('line = "x"\nchanges = ["a", "a"]\nreason = "x."', "twice"),
    ],
)
def test_an_argument_that_does_not_hold_for_a_mutant_is_refused(tmp_path, entry, message):
    path = tmp_path / "argued.toml"
    path.write_text(f'[[equivalent]]\nmodule = "{MODULE}"\nfunction = "f"\n{entry}\n')
    with pytest.raises(ValueError, match=message):
        equivalents(path)


def test_a_line_is_reached_by_what_runs_it():
    reach = Reach(0, 0.1, {"guards": [3, 4, 9]})
    assert reach.runs("guards", 4, 6)
    assert not reach.runs("guards", 5, 8)
    assert reach.runs("guards", 5, 8, anywhere=True)
    assert not reach.runs("schedules", 3, 3, anywhere=True)


def test_figures_are_kept_for_the_report(tmp_path):
    first, second, third = mutants(MODULE)[:3]
    found = [Judgement(first, True, "a", 0.1), Judgement(second, False, "", 0.1)]

    class Argued:
        def reason(self, mutant):
            return "The same." if mutant is third else ""

    figures = counts([*found, Judgement(third, False, "", 0.0)], Argued())
    assert (figures["drawn"], figures["killed"], figures["argued"]) == (3, 1, 1)
    assert [one["reason"] for one in figures["survivors"]] == ["", "The same."]
    path = tmp_path / "mutation.json"
    keep({"prism": figures}, 0, "command", "made up", path)
    keep({"psgd": figures}, 0, "command", "made up", path)
    assert set(json.loads(path.read_text())["families"]) == {"prism", "psgd"}
    assert set(keep({"psgd": figures}, 1, "command", "made up", path)["families"]) == {"psgd"}


def _judging():
    """Return what survives one change of number, ends the process of the next, fails at a third."""
    numbers = [mutant.title for mutant in mutants(MODULE)[:3]]

    def judge(mutant):
        if mutant.title == numbers[1]:
            os._exit(3)
        if mutant.title == numbers[2]:
            raise RuntimeError("the judge failed")
        return Judgement(mutant, False, f"process {os.getpid()}", 0.0)

    return judge


def test_a_mutant_that_ends_its_process_is_killed_and_the_next_are_judged():
    first, deadly, fails, *_ = mutants(MODULE)
    found = list(judged_by_several([[first, deadly, first]], _judging, 1))
    assert [one.killed for one in found] == [False, True, False]
    assert [one.mutant for one in found] == [first, deadly, first]
    assert found[1].by == "it ended the process"
    assert found[0].by != found[2].by
    with pytest.raises(RuntimeError, match="the judge failed"):
        list(judged_by_several([[fails]], _judging, 1))


def test_what_never_ends_is_ended():
    with pytest.raises(TimeoutError), limited(0.05):
        time.sleep(5)
    with limited(0.05):
        pass
    time.sleep(0.06)


def test_what_the_reference_computed_is_kept_unless_the_edited_module_had_a_part_in_it():
    owner, made = object(), []

    def compute():
        made.append(production("schedule_free.weighting.averaging_weight")(2.0, 0, "schedulet"))
        return len(made)

    assert [recalled(owner, "x", compute) for _ in range(2)] == [1, 2]
    with recalling("guards"):
        assert [recalled(owner, "x", compute) for _ in range(2)] == [3, 3]
    with recalling(MODULE):
        assert [recalled(owner, "x", compute) for _ in range(2)] == [4, 5]
    with recalling("guards"):
        assert recalled(owner, "x", compute) == 3


def test_a_check_that_objects_to_the_right_version_does_not_convict():
    class Grumbler:
        name = title = "schedule_free.weighting.averaging_weight"
        dtypes = ("float64",)

        def run(self, dtype, seed, *, thorough):
            raise RuntimeError("always")

    grumbler = Grumbler()
    assert not passes_right(first_trial(grumbler), 0)
    assert not convict(MODULE, "raise RuntimeError", [grumbler]).caught


def test_a_name_that_is_not_a_family_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--family", "muon"])
    assert "invalid choice" in capsys.readouterr().err
