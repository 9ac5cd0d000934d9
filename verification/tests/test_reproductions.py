"""The reproductions: criteria see wrong curves, the section is whole. No experiment is run."""

import json
import math
import re

import numpy as np
import pytest

from verification import __main__ as command_line
from verification.document import compose
from verification.report import plots, render_page, reproductions, violations, write_report
from verification.reproductions import EXPERIMENTS, REPRODUCTIONS, criteria, experiments
from verification.reproductions.hessian_fitting import (
    SIZE,
    Problem,
    bfgs,
    closed_form,
    error_curve,
    pairs,
)
from verification.wide_numbers import enable_x64

CLEAN, NOISY, GROWING = EXPERIMENTS
FIRST = math.sqrt(SIZE)


def falling(experiment, last):
    return np.geomspace(FIRST, last, experiment.steps // experiment.stride + 1)


def level(experiment, value):
    curve = np.full(experiment.steps // experiment.stride + 1, value)
    curve[0] = FIRST
    return curve


def inverse(curve):
    return curve[0] / np.arange(1, len(curve) + 1)


def curves_of(experiment):
    """Curves as the paper has them."""
    found = {experiments.REFERENCE: np.array([1e-15])}
    if experiment is CLEAN:
        linear = falling(experiment, 1e-3)
        found |= {"PSGD": linear, "BFGS": linear, "closed form": level(experiment, 0.65)}
    elif experiment is NOISY:
        found |= {experiments.PSGD_SLOW: level(experiment, 0.3)}
        found |= {experiments.PSGD_FAST: level(experiment, 0.6)}
        rising = np.geomspace(1.5, 7.0, len(level(experiment, 0.0)))
        found |= {"BFGS": rising, "closed form": level(experiment, 0.65)}
    else:
        times = np.arange(1, len(level(experiment, 0.0)) + 1)
        found |= {"PSGD": 14 / times, "BFGS": 28 / times, "closed form": 14 / times**0.2}
        found["BFGS"][:2] = 14, 1000
    return found


def failed(experiment, curves):
    rows = experiments.judge(experiment, curves)["rows"]
    return {row["criterion"] for row in rows if row["verdict"] == "FAIL"}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.title)
def test_curves_as_the_paper_has_them_pass(experiment):
    entry = experiments.judge(experiment, curves_of(experiment))
    assert entry["passed"] is True
    assert {row["verdict"] for row in entry["rows"]} == {"PASS"}


@pytest.mark.parametrize(
    ("experiment", "label", "wrong", "seen"),
    [
        (CLEAN, "PSGD", lambda c: np.maximum(c, 0.05), "PSGD: error at the end"),
        (CLEAN, "PSGD", lambda c: np.maximum(c, 0.05), "PSGD: decades"),
        (CLEAN, "PSGD", lambda c: c[0] * np.arange(1, len(c) + 1.0) ** -2, "PSGD: fall of the"),
        (CLEAN, "BFGS", lambda c: np.full(len(c), 2.0), "BFGS: error at the end"),
        (CLEAN, "BFGS", lambda c: c[0] * np.arange(1, len(c) + 1.0) ** -2, "BFGS: the same"),
        (CLEAN, "closed form", lambda c: falling(CLEAN, 0.1), "closed form: smallest"),
        (CLEAN, "closed form", lambda c: falling(CLEAN, 0.6), "closed form: decades"),
        (NOISY, "BFGS", lambda c: np.full(len(c), 9.0), "BFGS: error at the end over"),
        (NOISY, "BFGS", lambda c: c / 9, "BFGS over PSGD"),
        (NOISY, experiments.PSGD_SLOW, lambda c: c * 1.5, "PSGD, mu = 0.1: floor"),
        (NOISY, experiments.PSGD_SLOW, lambda c: falling(NOISY, 0.2), "PSGD, mu = 0.1: decades"),
        (NOISY, experiments.PSGD_FAST, lambda c: c * 2, "p, where"),
        (NOISY, experiments.PSGD_FAST, lambda c: c / 2, "p, where"),
        (NOISY, "closed form", lambda c: c / 2, "closed form over PSGD"),
        (GROWING, "PSGD", lambda c: np.append([c[0], 1e3], c[2:]), "PSGD: largest"),
        (GROWING, "PSGD", lambda c: c * 1.9, "PSGD over BFGS: iterations"),
        (GROWING, "PSGD", lambda c: c * 1.9, "PSGD over BFGS: geometric"),
        (GROWING, "PSGD", lambda c: c * 1.95, "PSGD over BFGS: errors"),
        (GROWING, "BFGS", lambda c: np.minimum(c, c[0]), "BFGS: largest"),
        (
            GROWING,
            "closed form",
            lambda c: c[0] / np.arange(1, len(c) + 1),
            "PSGD over closed form: iterations",
        ),
        (
            GROWING,
            "closed form",
            lambda c: c[0] / np.arange(1, len(c) + 1),
            "PSGD over closed form: geometric",
        ),
    ],
)
def test_a_wrong_curve_fails(experiment, label, wrong, seen):
    curves = curves_of(experiment)
    curves[label] = wrong(curves[label])
    assert any(statement.startswith(seen) for statement in failed(experiment, curves))


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.title)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_curve_may_end_in_what_is_not_a_number(experiment, value):
    for label, curve in curves_of(experiment).items():
        spoiled = np.append(curve[:-1], value)
        wrong = failed(experiment, curves_of(experiment) | {label: spoiled})
        assert wrong == {criterion.statement for criterion in experiment.criteria}


def test_every_criterion_can_fail():
    for experiment in EXPERIMENTS:
        seen = set()
        right = curves_of(experiment)
        for label in right:
            for factor in (1e-4, 1e6):
                ramp = np.geomspace(1.0, factor, len(right[label]))
                for wrong in (right[label] * ramp, right[label] * factor):
                    seen |= failed(experiment, right | {label: wrong})
            seen |= failed(experiment, right | {label: np.full(len(right[label]), FIRST)})
            bump = right[label].copy()
            bump[len(bump) // 9] *= 1e5
            seen |= failed(experiment, right | {label: bump})
        assert seen == {criterion.statement for criterion in experiment.criteria}


def test_a_criterion_has_a_limit_and_both_ends_count():
    with pytest.raises(ValueError, match="neither"):
        criteria.Criterion("s", lambda curves: 0.0)
    both = criteria.Criterion("s", lambda curves: 0.0, 1.0, 2.0)
    assert [both.holds(x) for x in (0.99, 1.0, 2.0, 2.01, math.nan, math.inf)] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]


def test_numbers_are_read_off_curves():
    times = np.arange(1.0, 401.0)
    assert criteria.steadiness(1 / times) == pytest.approx(0.71, abs=0.01)
    assert criteria.steadiness(1 / times**0.5) == pytest.approx(0.71, abs=0.01)
    assert criteria.steadiness(np.exp(-times / 40)) == pytest.approx(1.0, abs=0.02)
    assert math.isnan(criteria.steadiness(times))
    assert criteria.decline(np.geomspace(1.0, 1e-4, 401)) == pytest.approx(2.0, abs=0.02)
    assert criteria.settled(np.array([3.0, 0.5, 2.0, 0.5, 0.4])) == 4
    assert criteria.settled(np.array([0.5, 0.5])) == 1
    assert criteria.settled(np.array([0.5, math.nan])) == 3
    assert criteria.power(np.full(8, 2.0), np.full(8, 1.0), 4.0) == pytest.approx(1.0)


@pytest.mark.parametrize("problem", [Problem(), Problem(noise=0.1), Problem(grows=True)])
@pytest.mark.parametrize("method", [bfgs, closed_form])
def test_the_methods_are_those_of_their_formulas(problem, method):
    """Plain NumPy, written out anew, gives the same curve."""
    steps = 30
    with enable_x64(True):
        (found,) = error_curve(problem, method(), (5,), steps, 1)
        targets, vectors, products = pairs(problem, 5, steps + 1)
    estimate, moment, wanted = np.eye(SIZE), np.eye(SIZE), []
    for count in range(steps + 1):
        if method is closed_form:
            values, basis = np.linalg.eigh(moment)
            estimate = basis @ np.diag(values**-0.5) @ basis.T
        wanted.append(np.linalg.norm(estimate @ targets[count] - np.eye(SIZE)))
        v, h = vectors[count], products[count]
        moment = ((count + 1) * moment + np.outer(h, h)) / (count + 2)
        if method is bfgs:
            h = h * np.sign(v @ h)
            left = np.eye(SIZE) - np.outer(v, h) / (v @ h)
            estimate = left @ estimate @ left.T + np.outer(v, v) / (v @ h)
    assert found == pytest.approx(wanted, rel=1e-6)


def test_seen_pairs_are_those_of_the_problem():
    with enable_x64(True):
        target, vectors, products = pairs(Problem(), 3, 4)
        noisy = pairs(Problem(noise=0.5), 3, 4)
        grown = pairs(Problem(grows=True), 3, 4)
    assert target[0][:2, :3].tolist() == [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5]]
    assert products == pytest.approx(np.einsum("tij,tj->ti", target, vectors), rel=1e-12)
    assert np.std(noisy[2] - products) == pytest.approx(0.5, rel=0.2)
    assert noisy[0][0] @ noisy[0][0] == pytest.approx(target[0] @ target[0] + 0.25 * np.eye(SIZE))
    # H moves before it is seen, and each time by one rank.
    assert grown[0][0] == pytest.approx(np.full((SIZE, SIZE), 0.25))
    assert np.linalg.matrix_rank(grown[0][1] - grown[0][0]) == 1
    assert grown[2][0] == pytest.approx(grown[0][1] @ grown[1][0])


@pytest.fixture
def entries():
    return [experiments.judge(experiment, curves_of(experiment)) for experiment in EXPERIMENTS]


def test_the_section_states_criteria_before_curves(entries, tmp_path):
    entries[1]["rows"][0]["verdict"], entries[1]["passed"] = "FAIL", False
    document = compose([], [], 0, "command", entries)
    html = write_report(document, tmp_path).read_text(encoding="utf-8")
    parts = re.findall(r'<section class="reproduction"[^>]*>.*?</section>', html, re.DOTALL)
    assert len(parts) == len(EXPERIMENTS)
    for part, entry in zip(parts, entries, strict=True):
        positions = [part.index(word) for word in ("Criterion: ", "<table>", "<figure")]
        assert positions == sorted(positions)
        assert part.count("<polyline") == len(entry["series"])
        assert f">{entry['stride'] * (len(entry['series']['BFGS']) - 1)}<" in part
    assert parts[0].count("badge fail") == 0
    assert parts[1].count("badge fail") == 2


def test_entries_fit_the_schema_and_are_drawn_whole(entries):
    for entry in entries:
        assert all(len(values) <= plots.MAX_POINTS for values in entry["series"].values())
        assert len(entry["series"]) <= plots.COLOURS
    document = json.loads(json.dumps(compose([], [], 0, "command", entries)))
    assert violations(document) == []
    document["reproductions"][0]["stride"] = 0
    assert violations(document) == ["document.reproductions[0].stride: expected at least 1, got 0"]


def test_what_is_kept_loses_its_verdict_with_other_sources(entries, tmp_path):
    assert reproductions.read(tmp_path, "a") == []
    titles = [entry["title"] for entry in entries]
    reproductions.write(entries, "then", tmp_path, "a", titles)
    same, other = reproductions.read(tmp_path, "a"), reproductions.read(tmp_path, "b")
    assert [entry["passed"] for entry in same] == [True] * 3
    assert [entry["passed"] for entry in other] == [None] * 3
    assert "NOT RUN" in render_page(compose([], [], 0, "c", other), tmp_path)
    assert [entry["run"] for entry in same] == ["then"] * 3
    assert reproductions.OUTDATED in other[0]["run"]


def test_others_are_kept_beside_those_that_were_run(entries, tmp_path):
    titles = [entry["title"] for entry in entries]
    reproductions.write(entries[:2], "then", tmp_path, "a", titles)
    reproductions.write([entries[2], {**entries[0], "passed": False}], "now", tmp_path, "b", titles)
    found = reproductions.read(tmp_path, "b")
    assert [entry["title"] for entry in found] == titles
    assert [entry["passed"] for entry in found] == [False, None, True]
    assert [entry["run"].split()[0] for entry in found] == ["now", "then", "now"]
    assert not any("sources" in entry for entry in found)
    reproductions.write([], "later", tmp_path, "c", titles[1:])
    assert [entry["title"] for entry in reproductions.read(tmp_path, "b")] == titles[1:]


def test_a_file_with_one_digest_for_all_is_read(entries, tmp_path):
    kept = {"sources": "a", "entries": [{**entry, "run": "then"} for entry in entries]}
    (tmp_path / reproductions.FILE).write_text(json.dumps(kept), encoding="utf-8")
    assert [entry["passed"] for entry in reproductions.read(tmp_path, "a")] == [True] * 3
    assert [entry["passed"] for entry in reproductions.read(tmp_path, "b")] == [None] * 3


def test_tables_and_paths_are_shown(entries, tmp_path):
    plane = {
        "caption": "Some <paths>",
        "x": [-1.0, 1.0],
        "y": [0.0, 2.0],
        "contours": [[[0.0, 0.0], [0.5, 1.0]], [[0.0, 1.0], [9e9, 1.0]]],
        "paths": {"ours": [[-1.0, 0.0], [1.0, 2.0]], "theirs": [[0.0, 0.0], [0.0, 1.0]]},
        "marks": [[1.0, 2.0]],
    }
    tables = [{"caption": "More & more", "rows": [{"method": "ours", "steps": 3.0}]}]
    entry = {**entries[0], "tables": tables, "plane": plane}
    document = compose([], [], 0, "command", [entry])
    assert violations(document) == []
    html = write_report(document, tmp_path).read_text(encoding="utf-8")
    assert "<caption>More &amp; more</caption>" in html
    assert "Some &lt;paths&gt;" in html
    figure = html[html.index('aria-label="Some') :]
    assert figure.count("<polyline") == 4
    assert figure.count('class="place"') == 1
    frame = f"{figure_x(-1.0)},{428.0} {figure_x(1.0)},{14.0}"
    assert f'<polyline class="line c0" points="{frame}">' in figure
    assert "9000000000" not in figure
    del document["reproductions"][0]["plane"]["paths"]
    assert violations(document) == ["document.reproductions[0].plane: no 'paths'"]


def figure_x(value):
    return 48 + (value + 1) / 2 * (680 - 48 - 14)


def test_long_numbers_stay_within_the_plot():
    axes = plots.Axes("t", "y", stride=500)
    figure = plots.plot([plots.Series("a", [1.0] * 201)], axes)
    ticks = re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="(\w+)">(\d+)<', figure)
    assert ticks[-1][2] == "100000"
    for place, side, label in ticks:
        width = 7 * len(label) * {"middle": 0.5, "end": 0.0}[side]
        assert float(place) + width <= plots.WIDTH


def test_the_digest_sees_every_source(tmp_path):
    (tmp_path / "a.py").write_text("1")
    first = reproductions.digest(tmp_path)
    (tmp_path / "b.py").write_text("")
    second = reproductions.digest(tmp_path)
    (tmp_path / "a.py").write_text("2")
    assert len({first, second, reproductions.digest(tmp_path)}) == 3


def test_the_command_keeps_what_it_measured_for_later_runs(entries, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "OUTPUT", tmp_path / "latest")
    monkeypatch.setattr("verification.reproductions.reproduce", lambda *given: entries)
    assert command_line.main(["reproduce"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("PASS Hessian fitting") == 3
    document = json.loads((tmp_path / "partial" / "report.json").read_text(encoding="utf-8"))
    assert [entry["title"] for entry in document["reproductions"]] == [e.title for e in EXPERIMENTS]

    name = "schedule_free.weighting.averaging_coefficient"
    run = ["run", "-k", name, "--dtype", "float64", "--no-faults", "--processes", "1"]
    assert command_line.main(run) == 0
    later = json.loads((tmp_path / "partial" / "report.json").read_text(encoding="utf-8"))
    assert later["results"]
    assert later["reproductions"] == document["reproductions"]

    entries[0]["passed"] = False
    assert command_line.main(["reproduce", "-k", "fitting"]) == 1
    capsys.readouterr()
    assert command_line.main(["reproduce", "-k", "no such"]) == 1
    assert EXPERIMENTS[0].title in capsys.readouterr().out


def test_the_command_writes_into_the_last_whole_report(entries, tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "OUTPUT", tmp_path / "latest")
    monkeypatch.setattr("verification.reproductions.reproduce", lambda *given: entries)
    write_report(compose([], [], 11, "earlier"), tmp_path / "latest")
    assert command_line.main(["reproduce"]) == 0
    document = json.loads((tmp_path / "latest" / "report.json").read_text(encoding="utf-8"))
    assert document["seed"] == 11
    assert len(document["reproductions"]) == 3
    assert not (tmp_path / "partial").exists()


def test_every_result_was_measured_and_is_kept():
    kept = command_line._reproductions()
    assert [entry["title"] for entry in kept] == [one.title for one in REPRODUCTIONS]
    document = compose([], [], 0, "python -m verification run", kept)
    assert violations(document) == []
