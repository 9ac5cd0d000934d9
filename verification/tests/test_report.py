"""The report: what is written must be complete, escaped, valid and readable without a network."""

import base64
import copy
import hashlib
import json
import math
import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from verification.report import (
    read_report,
    render_page,
    render_table,
    violations,
    write_report,
)
from verification.report.parts import REPOSITORY
from verification.report.summary import summarise

NASTY = """</script><script>alert("x")</script><img src='http://evil/'>&amp;"'"""
REPRODUCE = "python -m verification run -k {} --dtype {} --seed 0"
VOID = {"meta", "input", "br", "wbr"}


def result(name, dtype="float64", verdict="PASS", **changes):
    unit = "eps" if dtype == "float64" else "ratio to control"
    entry = {"name": name, "kind": "case", "dtype": dtype, "verdict": verdict, "error": 1.25}
    entry |= {"budget": 8.0, "unit": unit, "field": "z", "where": "leaf w1; step 17"}
    entry |= {"detail": "", "reason": "five products", "series": [], "control_series": []}
    entry |= {"reproduce": REPRODUCE.format(name, dtype), "seconds": 0.25}
    return entry | changes


def fault(name, target, caught=True):
    by = f"{target} case" if caught else None
    return {"name": name, "target": target, "source": "another package, 1.2", "caught": caught} | {
        "by": by,
        "error": 123.0,
        "seconds": 1.0,
    }


def describe(name, equation):
    path = "/".join(name.split(".")[:-1]) + ".py"
    return {"name": name, "reference": f"reference/{path}", "production": f"src/{path}"} | {
        "note": "papers/prism.md",
        "equation": equation,
        "source": "arXiv 2602.03096v1, Algorithm 1",
    }


@pytest.fixture
def document():
    shape, weight = "prism.shaping.shape", "schedule_free.weighting.averaging_weight"
    walk = "schedule_free.methods.schedule_free_sgd"
    errors = [0.0, 0.5, 1.5, 2.5, math.inf]
    return {
        "schema": 1,
        "summary": dict.fromkeys(("failed", "mistrusted", "skipped", "faults_caught"), 1)
        | {"passed": 4, "faults_total": 2},
        "versions": {"python": "3.11.9", "numpy": "2.3.1", "rollfast": "0.3.0"},
        "device": "cpu",
        "date": "2026-07-01",
        "seed": 7,
        "command": "python -m verification run --seed 7",
        "names": [
            describe(shape, r"$$O = M\,(M^\top M)^{-1/2}$$"),
            describe(weight, "w = (k+1)^r lr^p"),
            describe(walk, "Three sequences $x$, `y`, $z$."),
        ],
        "results": [
            result(shape),
            result(shape, "float32", error=1.125, budget=2.0),
            result(shape, "bfloat16", "FAIL", error=math.nan, detail="last column", label="tall"),
            result(weight, verdict="MISTRUSTED", error=0.0, detail="zeros would pass"),
            result(weight, "float32", "SKIPPED", error=None),
            result(walk, kind="free-running", series=errors, error=math.inf),
            result(walk, "float32", series=[1.0, 2.0, 3.0], control_series=[1.0, 1.5, 2.0]),
        ],
        "faults": [fault("no square", weight), fault("old learning rate", weight, caught=False)],
        "reproductions": [
            {
                "title": "Figure 2",
                "criterion": "below 0.1 after 3 steps",
                "passed": True,
                "rows": [{"method": "sgd", "loss": 0.125}, {"method": "ours", "loss": 0.0625}],
                "series": {"sgd": [1.0, 0.5, 0.25], "ours": [1.0, 0.25]},
                "y_label": "loss",
            }
        ],
    }


class Page(HTMLParser):
    """Elements with their attributes, the visible text, and whether the tags balance."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.words = [], [], []
        self.scripts, self.styles = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        {"script": self.scripts, "style": self.styles}.get(inside, self.words).append(data)

    def all(self, tag, css=None):
        found = [attributes for name, attributes in self.elements if name == tag]
        return [a for a in found if css is None or css in a.get("class", "").split()]

    @property
    def text(self):
        return " ".join("".join(self.words).split())


@pytest.fixture
def page(document, tmp_path):
    return Page(write_report(document, tmp_path).read_text(encoding="utf-8"))


def polylines(html, role):
    lines = Page(html).all("polyline", role)
    return [[tuple(map(float, p.split(","))) for p in line["points"].split()] for line in lines]


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def test_the_json_is_strict_and_spells_inf_and_nan(document, tmp_path):
    write_report(document, tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    loaded = json.loads(text, parse_constant=refuse_constant)
    assert loaded["results"][2]["error"] == "nan"
    assert loaded["results"][5]["series"] == [0.0, 0.5, 1.5, 2.5, "inf"]
    assert loaded["results"][4]["error"] is None
    assert loaded == read_report(tmp_path / "report.json")


def test_the_files_do_not_depend_on_the_order_of_keys(document, tmp_path):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    other = turned(document)
    # The order of a legend, a table's columns or the versions is the document's own.
    for entry, left in zip(other["reproductions"], document["reproductions"], strict=True):
        entry |= {"series": left["series"], "rows": left["rows"]}
    other["versions"] = document["versions"]
    for folder, content in (("a", document), ("b", other)):
        write_report(content, tmp_path / folder)
    for name in ("report.json", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_numpy_numbers_are_written_and_the_document_is_left_alone(document, tmp_path):
    document["results"][0] |= {"error": np.float32(0.5), "series": np.array([0.5, np.inf])}
    before = copy.deepcopy(document["results"][1:])
    write_report(document, tmp_path)
    written = read_report(tmp_path / "report.json")["results"][0]
    assert written["error"] == 0.5
    assert written["series"] == [0.5, "inf"]
    # A nan is equal to no nan but to its own text.
    assert repr(document["results"][1:]) == repr(before)


def test_the_document_fits_the_schema(document, tmp_path):
    write_report(document, tmp_path)
    assert violations(read_report(tmp_path / "report.json")) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.pop("seed"), "document: no 'seed'"),
        (lambda d: d["summary"].update(passed=-1), "summary.passed: expected at least 0"),
        (lambda d: d["summary"].update(passed=True), "summary.passed: expected integer"),
        (lambda d: d["results"][1].update(verdict="OK"), r"results\[1\].verdict: expected one of"),
        (lambda d: d["results"][1].update(error="big"), r"results\[1\].error: 'big' fits no form"),
        (lambda d: d["results"][6]["series"].append("x"), r"results\[6\].series\[3\]"),
        (lambda d: d["faults"][0].update(caught=1), r"faults\[0\].caught: expected boolean"),
        (lambda d: d["reproductions"][0]["rows"].append([1]), r"rows\[2\]: expected object"),
    ],
)
def test_a_document_that_breaks_the_schema_is_refused_but_kept(
    document, tmp_path, change, complaint
):
    change(document)
    with pytest.raises(ValueError, match=complaint):
        write_report(document, tmp_path)
    assert (tmp_path / "report.json").exists()


def test_the_page_fetches_nothing(page, tmp_path):
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import", "".join(page.styles))
    assert not re.search(r"https?://", html)


def test_the_security_policy_allows_this_script_and_nothing_else(page):
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_name_has_an_anchor_and_every_link_a_target(document, page):
    identifiers = Counter(a["id"] for _, a in page.elements if "id" in a)
    assert max(identifiers.values()) == 1
    sections = [section["id"] for section in page.all("section", "name")]
    assert sections == [entry["name"] for entry in document["names"]]
    targets = {a["href"].removeprefix("#") for a in page.all("a") if a["href"].startswith("#")}
    assert targets >= set(sections)
    assert targets <= set(identifiers)


def test_the_head_says_what_was_run(document, page):
    for fact in ("rollfast 0.3.0", "numpy 2.3.1", "2026-07-01", "seed 7", document["command"]):
        assert fact in page.text
    tiles = "4 passed 1 failed 1 mistrusted 1 skipped 1/2 faults caught"
    assert tiles.replace(" ", "") in page.text.replace(" ", "")


def test_failures_come_with_their_commands(document, tmp_path):
    html = write_report(document, tmp_path).read_text(encoding="utf-8")
    section = re.search(r'<section id="section-failures">.*?</section>', html, re.DOTALL)[0]
    for index in (2, 3):
        failed = document["results"][index]
        assert f"<pre>{failed['reproduce']}</pre>" in section
        assert failed["detail"] in section
    assert "case: tall, bfloat16" in section
    assert document["results"][0]["reproduce"] not in section
    assert "NOT CAUGHT" in section
    assert "old learning rate" in section


def test_a_clean_run_has_no_section_of_failures(document):
    document |= {"results": document["results"][:2], "faults": document["faults"][:1]}
    assert 'id="section-failures"' not in render_page(document, Path())


def test_tables_are_headed_and_rows_complete(page):
    # More of them where peers or mutants were measured before.
    assert len(page.all("table")) == len(page.all("caption")) >= 6
    assert {heading.get("scope") for heading in page.all("th")} == {"row", "col"}


def nasty(value, key=""):
    """The value with every text replaced, but for those that the schema fixes."""
    if isinstance(value, dict):
        return {name: nasty(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [nasty(item, key) for item in value]
    fixed = {"kind", "dtype", "verdict", "unit"}
    return f"{NASTY}{value}" if isinstance(value, str) and key not in fixed else value


def test_all_text_is_escaped(document, tmp_path):
    document = nasty(document)
    rows, series = document["reproductions"][0]["rows"], document["reproductions"][0]["series"]
    rows[0][NASTY], series[NASTY] = NASTY, [1.0, 2.0]
    document["versions"][NASTY] = NASTY
    # Mathematics is escaped on a path of its own.
    document["names"][0]["equation"] = f"$${NASTY}$$ $a{NASTY}b$ `{NASTY}` **{NASTY}**"
    html = write_report(document, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not [a for _, a in page.elements if "src" in a]
    assert 'alert("x")' in page.text
    assert len(page.all("section", "name")) == len(document["names"])


def test_results_and_faults_of_unlisted_names_are_shown(document):
    document["results"].append(result("stray.result"))
    document["faults"].append(fault("wrong sign", "stray.fault"))
    html = render_page(document, Path())
    assert 'id="stray.result"' in html
    assert 'id="stray.fault"' in html
    assert "stray.fault" in render_table(document)


def test_paths_are_linked_only_from_within_the_repository(document, tmp_path):
    inside = REPOSITORY / "build" / "verification"
    links = [a["href"] for a in Page(render_page(document, inside)).all("a")]
    target = "../../reference/prism/shaping.py"
    assert target in links
    assert (inside / target).resolve() == REPOSITORY / "reference/prism/shaping.py"
    outside = render_page(document, tmp_path)
    assert ".." not in "".join(a["href"] for a in Page(outside).all("a"))
    assert "<code>reference/prism/shaping.py</code>" in outside


def test_series_are_plotted_with_all_their_points(document, tmp_path):
    html = write_report(document, tmp_path).read_text(encoding="utf-8")
    assert [len(p) for p in polylines(html, "line")] == [5, 3, 3, 2]
    assert [len(p) for p in polylines(html, "control")] == [3]
    # A budget in eps is level; one in units of the control moves with it.
    level, moving = polylines(html, "budget")
    assert (len(level), len(moving)) == (2, 3)
    assert level[0][1] == level[1][1]
    (control,) = polylines(html, "control")
    gaps = [below[1] - above[1] for below, above in zip(control, moving, strict=True)]
    assert gaps[0] > 20
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)
    assert "error (eps of float64)" in html
    assert "budget (8 × control)" in html


def test_the_worst_result_uses_most_of_its_budget(document):
    name = "prism.shaping.shape"
    document["results"] += [
        result(name, error=3.0, budget=4.0),
        result(name, error=6.0, budget=30.0),
        result(name, error=100.0, budget=0.0, unit="bits"),
    ]
    worst = summarise(document)[0].worst
    assert worst["float64"]["error"] == 3.0
    assert math.isnan(worst["bfloat16"]["error"])


def test_the_table_has_a_row_per_name_and_aligned_columns(document):
    lines = render_table(document).splitlines()
    assert lines[0].split() == [
        "name",
        "float64",
        "eps",
        "float32",
        "bfloat16",
        "faults",
        "verdict",
    ]
    assert set(lines[1]) == {"-"}
    rows = {line.split()[0]: line for line in lines[2 : 2 + len(document["names"])]}
    assert set(rows) == {entry["name"] for entry in document["names"]}
    cells = "1.25 / 8 1.12 nan - FAIL"
    assert " ".join(rows["prism.shaping.shape"].split()[1:]) == cells
    weight = rows["schedule_free.weighting.averaging_weight"]
    assert " ".join(weight.split()[1:]) == "0 / 8 - - 1/2 MISTRUSTED"
    column = lines[0].index("verdict")
    assert all(row[column - 1] == " " and row[column] != " " for row in rows.values())


def test_the_table_tells_of_failures_with_their_commands(document):
    text = render_table(document)
    assert "4 passed, 1 failed, 1 mistrusted, 1 skipped; faults caught 1/2" in text
    for index in (2, 3):
        assert f"    $ {document['results'][index]['reproduce']}\n" in text
    assert f"$ {document['results'][0]['reproduce']}" not in text
    assert "FAIL prism.shaping.shape case: tall bfloat16\n" in text
    assert "NOT CAUGHT old learning rate" in text


def test_the_table_is_narrow_ascii_even_for_hostile_text(document):
    long = "schedule_free." * 20 + "é"
    words = " ".join(["--option", "'two words'"] * 20)
    document["results"].append(
        result(long, verdict="FAIL", detail="λ\x1b[31m\n" * 60, reproduce=f"run {words}")
    )
    text = render_table(document)
    assert text.isascii()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 110
    command = text[text.index("$ run") + 2 :].split("\n\n")[0]
    # A shell drops a backslash with the end of its line; shlex does not know that.
    assert shlex.split(command.replace("\\\n", "")) == shlex.split(f"run {words}")


def test_the_table_is_the_same_from_the_file(document, tmp_path):
    write_report(document, tmp_path)
    assert render_table(read_report(tmp_path / "report.json")) == render_table(document)
