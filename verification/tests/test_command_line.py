"""The command line, on checks that are quick."""

import json

import pytest

from verification import __main__ as command_line
from verification.cases import all_checks
from verification.runner import Options, tasks

NAME = "schedule_free.weighting.averaging_coefficient"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "OUTPUT", tmp_path / "latest")
    return tmp_path


def test_run_writes_a_report_and_passes(folder, capsys):
    assert command_line.main(["run", "-k", NAME, "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "PASS" in printed
    assert str(folder / "partial" / "report.html") in printed
    document = json.loads((folder / "partial" / "report.json").read_text())
    assert document["summary"]["failed"] == 0
    assert document["summary"]["faults_caught"] == document["summary"]["faults_total"] > 0
    assert {result["dtype"] for result in document["results"]} == set(Options.dtypes)


def test_a_failure_exits_with_one_and_a_line_that_reproduces_it(folder, capsys, monkeypatch):
    case = next(check for check in all_checks() if check.name == NAME)
    monkeypatch.setattr("verification.compare.is_loose", lambda budget, worst: True)
    assert case.budget > 0
    arguments = ["run", "-k", NAME, "--dtype", "float64", "--no-faults", "--processes", "1"]
    assert command_line.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "MISTRUSTED" in printed
    assert f"python -m verification run -k {NAME}" in printed.replace("'", "")


def test_an_unknown_pattern_is_an_error(capsys):
    assert command_line.main(["run", "-k", "no such check"]) == 1
    assert "no such check" in capsys.readouterr().out


def test_list_names_checks_and_faults(capsys):
    assert command_line.main(["list", "-k", NAME]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("check") for line in lines) == 3
    assert sum(line.startswith("fault") for line in lines) >= 1


def test_show_prints_the_equation_and_both_sources(capsys):
    assert command_line.main(["show", NAME]) == 0
    printed = capsys.readouterr().out
    assert "```math" in printed
    assert printed.count("def averaging_coefficient(") == 2
    assert command_line.main(["show", "no.such.name"]) == 1


def test_every_check_has_a_task_for_each_of_its_dtypes():
    checks = [task for task in tasks(Options()) if task.kind == "check"]
    assert len(checks) == sum(len(check.dtypes) for check in all_checks())
