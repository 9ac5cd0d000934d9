"""The pieces of the report by themselves: plots, verdicts and equations."""

import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from verification.report import latex, note, plots, speed
from verification.report.summary import combined_verdict, used_budget


def line_points(figure):
    """The points of the only solid line of a figure."""
    (points,) = re.findall(r'<polyline class="line c0" points="([^"]*)"', figure)
    return [tuple(map(float, point.split(","))) for point in points.split()]


def result(verdict="PASS", **changes):
    return {"verdict": verdict, "error": 1.25, "budget": 8.0} | changes


def test_a_log_axis_puts_equal_ratios_at_equal_distances():
    series = plots.Series("error", [1e-3, 1e-1, 1e1, 1e3])
    points = line_points(plots.plot([series], plots.Axes("t", "y")))
    x, y = zip(*points, strict=True)
    assert np.diff(x) == pytest.approx(np.full(3, np.diff(x)[0]), abs=0.15)
    assert np.diff(y) == pytest.approx(np.full(3, np.diff(y)[0]), abs=0.15)
    assert y[0] > y[-1]


def test_a_linear_axis_takes_negative_values():
    axes = plots.Axes("t", "y", log=False)
    points = line_points(plots.plot([plots.Series("a", [-1.0, 0.0, 1.0])], axes))
    y = [point[1] for point in points]
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.15)


def test_zero_and_infinite_values_stand_outside_the_scale():
    values = [1e-4, 1.0, 0.0, math.inf, "nan", 5e-324, 1.7e308]
    figure = plots.plot([plots.Series("error", values)], plots.Axes("t", "y"))
    points = line_points(figure)
    y = [point[1] for point in points]
    assert len(points) == len(values)
    assert all(0 <= value <= plots.HEIGHT for value in y)
    assert y[2] == max(y)
    assert y[3] == y[4] == min(y)
    assert figure.count("mark") == 2
    assert ">0</text>" in figure
    assert ">inf, nan</text>" in figure


@pytest.mark.parametrize("value", [5e-324, 1e-300, 1.0, 1e300, 1.7e308])
def test_the_ends_of_float64_can_be_drawn(value):
    figure = plots.plot([plots.Series("error", [value, value])], plots.Axes("t", "y"))
    assert all(0 <= y <= plots.HEIGHT for _, y in line_points(figure))
    assert figure.count('class="tick"') >= 4


def test_missing_values_are_left_out_and_nothing_draws_nothing():
    series = plots.Series("error", [1.0, None, 3.0])
    assert plots.thin(series.values) == [(0, 1.0), (2, 3.0)]
    assert plots.plot([plots.Series("error", [])], plots.Axes("t", "y")) == ""
    assert plots.plot([plots.Series("b", [8.0], "budget")], plots.Axes("t", "y")) == ""


def test_long_series_keep_their_worst_values():
    values = [1.0] * (10 * plots.MAX_POINTS)
    values[1234], values[3333] = 99.0, math.nan
    points = plots.thin(values)
    assert len(points) == plots.MAX_POINTS
    assert (1234, 99.0) in points
    assert [step for step, value in points if math.isnan(value)] == [3333]
    figure = plots.plot([plots.Series("error", values)], plots.Axes("t", "y"))
    assert "the largest value of each stretch" in figure


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 60, 1000])
def test_the_axes_are_labelled(steps):
    axes = plots.Axes("title", "the error", "the step")
    figure = plots.plot([plots.Series("s", list(range(1, steps + 1)))], axes)
    assert "the error</text>" in figure
    assert "the step</text>" in figure
    assert figure.count('class="tick"') >= 3


def test_log_ticks_are_round_and_inside():
    assert plots.log_ticks(0, 1) == pytest.approx([1, 2, 5, 10])
    assert plots.log_ticks(-12, 0) == pytest.approx([10.0**k for k in range(-12, 1, 2)])


def test_used_budget_takes_what_cannot_be_compared_for_the_worst():
    assert used_budget(result(error=2.0, budget=8.0)) == 0.25
    assert used_budget(result(error=0.0, budget=0.0)) == 0.0
    for changes in ({"error": "nan"}, {"error": None}, {"budget": None}, {"budget": 0.0}):
        assert used_budget(result(**changes)) == math.inf


def test_the_most_severe_verdict_wins_and_a_live_fault_is_mistrusted():
    passed, skipped = result(), result(verdict="SKIPPED")
    alive = [{"caught": False}]
    assert combined_verdict([passed, skipped], [{"caught": True}]) == "PASS"
    assert combined_verdict([skipped], []) == "SKIPPED"
    assert combined_verdict([passed], alive) == "MISTRUSTED"
    assert combined_verdict([passed, result(verdict="FAIL")], alive) == "FAIL"
    assert combined_verdict([], []) == "NOT RUN"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r"\frac{a}{b}", "<mfrac><mi>a</mi><mi>b</mi></mfrac>"),
        ("x_{t+1}^2", "<msubsup><mi>x</mi><mrow><mi>t</mi>"),
        ("x^12", "<msup><mi>x</mi><mn>1</mn></msup><mn>2</mn>"),
        (r"\gamma_t", "<msub><mi>γ</mi><mi>t</mi></msub>"),
        (r"\sqrt[3]{x}", "<mroot><mi>x</mi><mn>3</mn></mroot>"),
        (r"\mathbb{R}", ">ℝ</mi>"),
        (r"\hat{m}", '<mover accent="true"><mi>m</mi><mo>^</mo></mover>'),
        (r"\operatorname{spike\_scale}(x)", ">spike_scale</mi>"),
        (r"\hat m_t", '<msub><mover accent="true">'),
        (r"\log x", '</mi><mspace width="0.17em"></mspace>'),
        (r"\sum_{i=1}^n", "<munderover>"),
        (r"a &= b \\ c &= d", "<mtr><mtd>"),
        (r"\begin{cases} 1 & x > 0 \\ 0 & \text{if not} \end{cases}", "<mtext>if\u00a0not</mtext>"),
        (r"\left\| x \right\|_F", '<mo stretchy="true">‖</mo>'),
        (r"\unknown x", r"<mtext>\unknown</mtext>"),
        ("a < b & c", "<mo"),
    ],
)
def test_latex_becomes_well_formed_mathml(source, expected):
    html = latex.to_html(source, display=True)
    assert expected in html
    root = ElementTree.fromstring(html)
    assert root.find("semantics/annotation").text == source
    arity = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "mroot": 2}
    for element in root.iter():
        assert len(element) == arity.get(element.tag, len(element))


@pytest.mark.parametrize(
    "source",
    ["{a", "a}", r"\frac{a}", r"\left( a", r"\begin{cases} a", r"\begin{tikz}a\end{tikz}", "x^"]
    + ["{" * 5000 + "}" * 5000, r"\frac" * 5000, r"\left(" * 500],
)
def test_latex_that_cannot_be_parsed_is_shown_as_written(source):
    assert latex.to_html(source, display=True) == f'<pre class="equation">{source}</pre>'


def test_a_note_keeps_its_structure():
    text = "With *one* `a_b` and $x_1$:\n\n- **first**\n- second\n\n```\ncode < 1\n```\n\n$$y$$"
    html = note.to_html(text)
    assert "<em>one</em> <code>a_b</code> and <math>" in html
    assert "<ul><li><strong>first</strong></li><li>second</li></ul>" in html
    assert "<pre>code &lt; 1</pre>" in html
    assert '<div class="equation"><math display="block">' in html
    table = note.to_html("| a | $x$ |\n|---|---|\n| `1` \\| 2 | [see](other.md) |")
    assert table.count('<th scope="col">') == 2
    assert "<td><code>1</code> | 2</td><td>see</td>" in table
    assert note.to_html("w = a*b*c <= 1") == '<pre class="equation">w = a*b*c &lt;= 1</pre>'
    assert note.to_html("") == ""


def test_speed_shows_what_was_measured_and_what_failed(tmp_path):
    timed = {"seconds": {"median": 0.0123}, "over_floor": 1.5, "gain": 2.5}
    row = {
        "peer": "ours",
        "name": "kron",
        "compile": {"seconds": {"median": 3.25}},
        "updated": timed,
        "thousand": {"seconds": 12.5, "measured": False},
        "temp_bytes": 2**21,
        "state_bytes": 2**20,
    }
    summary = {
        "rounds": 3,
        "rates": {"flops_per_second": 1e11, "bytes_per_second": 1e10},
        "rows": [row, {"peer": "<other>", "name": "kron", "error": "ImportError: gone"}],
    }
    measured = {
        "command": "python -m benchmarks.peers",
        "date": "2001-01-01",
        "machine": "some machine",
        "device": "cpu",
        "versions": {"jax": "9"},
        "peers": {"other": {"jax": "8"}},
        "workloads": {"W1": summary},
    }
    (tmp_path / "one.json").write_text(json.dumps(measured), encoding="utf-8")
    (tmp_path / "pytest.json").write_text('{"benchmarks": []}', encoding="utf-8")
    html = speed.section(tmp_path)
    for piece in (
        "12.30",
        "2.50",
        "≈ 12.50",
        "2.00",
        "ImportError: gone",
        "&lt;other&gt;",
        "jax 8",
    ):
        assert f"{piece}" in html
    assert html.count("<table>") == 1
    assert speed.section(tmp_path / "none") == "<p>Nothing has been measured.</p>"
