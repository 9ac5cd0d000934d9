"""What is told of two reports, and what fails."""

import copy
import json
import math

import pytest

from verification.__main__ import main
from verification.report.difference import compare, render

NAME, OTHER = "prism.shaping.shape", "guards.global_norm"


def result(name, **changes):
    values = {"name": name, "kind": "case", "dtype": "float64", "verdict": "PASS", "error": 1.0}
    return values | {"budget": 4.0, "unit": "eps", "reason": "", "reproduce": ""} | changes


@pytest.fixture
def old():
    names = [
        dict.fromkeys(("reference", "production", "note", "equation", "source"), "") | {"name": one}
        for one in (NAME, OTHER)
    ]
    fault = {"name": "no square", "target": NAME, "source": "", "caught": True, "by": "a case"}
    return {
        "schema": 1,
        "summary": dict.fromkeys(
            ("passed", "failed", "mistrusted", "skipped", "faults_caught", "faults_total"), 0
        ),
        "versions": {"jax": "1"},
        "device": "cpu",
        "date": "2001-01-01",
        "seed": 0,
        "command": "python -m verification run",
        "sources": {"reference": "aa", "production": "bb"},
        "names": names,
        "results": [
            result(NAME),
            result(NAME, dtype="float32", unit="ratio to control"),
            result(OTHER, unit="bits", error=0, budget=0),
        ],
        "faults": [fault | {"error": 9.0}],
        "reproductions": [
            {"title": "Figure 2", "criterion": "", "passed": True, "rows": [], "series": {}}
        ],
    }


@pytest.fixture
def new(old):
    return copy.deepcopy(old)


def told(old, new, **more):
    return {(one.kind, one.subject, one.worse): one.text for one in compare(old, new, **more)}


CHECK = f"{NAME}:case:float64"


def test_the_same_report_has_no_differences(old, new):
    new["date"] = "2002-02-02"
    assert compare(old, new) == []
    assert render([]) == "differences: 0, for the worse: 0\n"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (1.0, 1.9, None),
        (0.1, 0.9, None),
        (0.0, 0.9, None),
        (3.0, 5.9, None),
        (1.0, 2.0, "grew: 1 -> 2 eps"),
        (0.0, 1.0, "grew: 0 -> 1 eps"),
        (8.0, 3.0, "shrank: 8 -> 3 eps"),
        (3.0, "nan", "grew: 3 -> nan eps"),
        ("inf", 3.0, "shrank: inf -> 3 eps"),
        ("inf", "nan", None),
        (None, 3.0, None),
    ],
)
def test_errors_are_told_of_when_they_move_by_more_than_rounding(old, new, before, after, text):
    old["results"][0]["error"], new["results"][0]["error"] = before, after
    expected = {} if text is None else {("error", CHECK, False): text}
    assert told(old, new) == expected


def test_one_bit_that_differs_is_told_of(old, new):
    new["results"][2]["error"] = 1
    assert told(old, new) == {("error", f"{OTHER}:case:float64", False): "grew: 0 -> 1 bits"}


def test_the_factor_is_a_choice_above_one(old, new):
    new["results"][0]["error"] = 5.0
    assert told(old, new, factor=5.0)
    assert not told(old, new, factor=5.1)
    for factor in (1.0, math.nan):
        with pytest.raises(ValueError, match="must be above 1"):
            compare(old, new, factor)


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ("PASS", "FAIL", True),
        ("PASS", "MISTRUSTED", True),
        ("PASS", "SKIPPED", True),
        ("MISTRUSTED", "FAIL", True),
        ("FAIL", "PASS", False),
    ],
)
def test_a_verdict_is_worse_or_better(old, new, before, after, worse):
    old["results"][0]["verdict"], new["results"][0]["verdict"] = before, after
    assert told(old, new) == {("verdict", CHECK, worse): f"{before} -> {after}"}


@pytest.mark.parametrize(
    ("before", "after", "text", "worse"),
    [
        (4.0, 4.5, "BUDGET GREW: 4 -> 4.5 eps", True),
        (4.0, 2.0, "shrank: 4 -> 2 eps", False),
        (4.0, None, "BUDGET GREW: 4 -> - eps", True),
        (4.0, "nan", "BUDGET GREW: 4 -> nan eps", True),
    ],
)
def test_a_budget_that_grew_is_shouted(old, new, before, after, text, worse):
    old["results"][0]["budget"], new["results"][0]["budget"] = before, after
    assert told(old, new) == {("budget", CHECK, worse): text}


def test_another_unit_is_worse_whatever_the_number(old, new):
    new["results"][0] |= {"unit": "ratio to control", "budget": 1.0}
    assert [*told(old, new)] == [("budget", CHECK, True)]


def test_what_vanished_is_worse_and_what_is_new_is_told(old, new):
    new["results"][0]["label"] = "tall"
    new["names"].pop()
    assert told(old, new) == {
        ("name", OTHER, True): "VANISHED",
        ("check", CHECK, True): "VANISHED",
        ("check", f"{NAME}:case:tall:float64", False): "is new: PASS",
    }
    new["results"][0]["verdict"] = "FAIL"
    assert ("check", f"{NAME}:case:tall:float64", True) in told(old, new)


def test_faults_escape_or_are_caught_or_vanish(old, new):
    subject = f"{NAME}:fault:no-square"
    new["faults"][0]["caught"] = False
    assert told(old, new) == {("fault", subject, True): "ESCAPES now"}
    assert told(new, old) == {("fault", subject, False): "is now caught"}
    assert told(old, {**new, "faults": []}) == {("fault", subject, True): "VANISHED"}
    assert told({**old, "faults": []}, new) == {("fault", subject, True): "is new: ESCAPES"}


@pytest.mark.parametrize(
    ("passed", "text", "worse"), [(False, "PASS -> FAIL", True), (None, "PASS -> NOT RUN", False)]
)
def test_a_result_of_a_paper_that_fails_is_worse(old, new, passed, text, worse):
    new["reproductions"][0]["passed"] = passed
    assert told(old, new) == {("reproduction", "reproduction:Figure-2", worse): text}


def test_what_was_run_is_told_and_is_no_worse(old, new):
    new |= {"device": "gpu", "versions": {"jax": "2", "scipy": "3"}}
    new["sources"]["production"] = "cc"
    assert told(old, new) == {
        ("run", "device", False): "cpu -> gpu",
        ("run", "versions: jax", False): "1 -> 2",
        ("run", "versions: scipy", False): "unknown -> 3",
        ("run", "sources: production", False): "bb -> cc",
    }
    del old["sources"]
    assert ("run", "sources: production", False) in told(old, new)


def test_the_worse_comes_first_within_a_kind(old, new):
    new["results"][0]["budget"], new["results"][1]["budget"] = 2.0, 5.0
    new["results"][2]["verdict"] = "FAIL"
    found = [(one.kind, one.worse) for one in compare(old, new)]
    assert found == [("verdict", True), ("budget", True), ("budget", False)]


def test_a_pattern_chooses(old, new):
    new["results"][0]["budget"] = 9.0
    assert told(old, new, pattern="prism.")
    assert not told(old, new, pattern=OTHER)


@pytest.fixture
def files(old, new, tmp_path):
    def written():
        paths = [tmp_path / "old" / "report.json", tmp_path / "new.json"]
        for path, document in zip(paths, (old, new), strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(document), encoding="utf-8")
        return [str(paths[0].parent), str(paths[1])]

    return written


def test_the_command_fails_when_something_is_worse(new, files, capsys):
    new["results"][0]["error"] = 3.0
    assert main(["diff", *files()]) == 0
    assert "differences: 1, for the worse: 0" in capsys.readouterr().out
    new["results"][1]["budget"] = 5.0
    assert main(["diff", *files()]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"  WORSE {NAME}:case:float32: BUDGET GREW: 4 -> 5 ratio to control" in lines
    assert main(["diff", *files(), "-k", OTHER]) == 0


def test_the_command_prints_json(new, files, capsys):
    new["results"][0]["verdict"] = "FAIL"
    assert main(["diff", *files(), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["worse"] is True
    (change,) = printed["changes"]
    assert change == {"kind": "verdict", "subject": CHECK, "text": "PASS -> FAIL", "worse": True}


def test_the_command_says_what_it_cannot_read(new, files, capsys, tmp_path):
    new["schema"] = 7
    assert main(["diff", *files()]) == 2
    assert "schema 7" in capsys.readouterr().out
    assert main(["diff", str(tmp_path / "none.json"), str(tmp_path)]) == 2
    assert "none.json" in capsys.readouterr().out
