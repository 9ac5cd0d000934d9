"""The committed summary of a run, and the documents that are written from it."""

import json
import math
import subprocess
import sys

import pytest

from papers import index
from verification import published
from verification.__main__ import main
from verification.document import tree_of_sources
from verification.registry import notes
from verification.report import mutants_found, peers_found
from verification.report.store import to_json

NAMES = sorted(notes())
FIRST, SECOND = NAMES[:2]


def result(name, dtype="float64", **changes):
    unit = "eps" if dtype == "float64" else "ratio to control"
    values = {"name": name, "kind": "case", "dtype": dtype, "verdict": "PASS", "error": 1.23456}
    values |= {"budget": 4.0, "unit": unit, "reason": "", "reproduce": ""}
    return values | changes


@pytest.fixture
def document():
    fault = {"name": "no square", "target": FIRST, "source": "", "caught": True, "by": ""}
    return {
        "schema": 1,
        "command": "python -m verification run",
        "date": "2001-01-01",
        "device": "cpu",
        "versions": {"jax": "1", "rollfast": "2"},
        "seed": 0,
        "summary": {"passed": 3},
        "names": [{"name": name} for name in NAMES],
        "results": [
            *(result(name, dtype) for name in NAMES for dtype in published.UNITS),
            result(FIRST, kind="teacher-forced", error=3.0, budget=16.0),
            result(FIRST, kind="invariant", error=99.0, budget=100.0),
            result(FIRST, unit="bits", error=9, budget=0, verdict="FAIL"),
            result(FIRST, "float32", error=None, verdict="SKIPPED"),
        ],
        "faults": [fault | {"error": 9.0}, fault | {"name": "half", "caught": False, "error": 0.0}],
        "reproductions": [],
    }


@pytest.fixture
def summary(document):
    return published.summary_of(document)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The documents of this repository, to be written elsewhere."""
    monkeypatch.setattr(index, "ROOT", tmp_path)
    monkeypatch.setattr(published, "ROOT", tmp_path)
    monkeypatch.setattr("verification.publication.ROOT", tmp_path)
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published.json")
    for name in ("INDEX", "CITATIONS", "README"):
        path = tmp_path / getattr(index, name).name
        path = path if name != "INDEX" else tmp_path / "papers.md"
        monkeypatch.setattr(index, name, path)
    index.README.write_text(f"# Title\n\n{index.BEGIN}\nold\n{index.END}\n\nMore.\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(("passed", "said"), [(False, "1/2"), (None, "1/2, of earlier sources")])
def test_the_table_has_results_that_were_measured_again(document, passed, said):
    rows = [{"verdict": "PASS"}, {"verdict": "FAIL"}]
    assert "criteria met" not in index.summary_block(published.summary_of(document))
    entry = {"title": "A valley", "source": "arXiv 1", "rows": rows, "passed": passed}
    block = index.summary_block(published.summary_of(document | {"reproductions": [entry]}))
    assert block.endswith(f"| A valley | arXiv 1 | {said} |\n{index.END}")


def test_the_summary_has_the_largest_error_of_a_name_and_its_budget(summary):
    assert summary["names"][FIRST] == {
        "verdict": "FAIL",
        "checks": 6,
        "passed": 5,
        "float64": [3.0, 16.0],
        "float32": [1.23, 4.0],
        "bfloat16": [1.23, 4.0],
        "faults": [1, 2],
    }
    assert summary["names"][SECOND]["float64"] == [1.23, 4.0]
    assert summary["names"][SECOND]["faults"] == [0, 0]
    assert (summary["seed"], summary["device"], summary["commit"]) == (0, "cpu", None)


def test_what_is_not_a_number_is_the_largest_error(document):
    document["results"] += [result(SECOND, error=math.nan), result(SECOND, error="inf")]
    entry = published.summary_of(to_json(document))["names"][SECOND]
    assert entry["float64"] == ["nan", 4.0]
    assert published.worst([entry, {"float64": [2.0, 4.0]}], "float64") == ["nan", 4.0]
    assert published.worst([{}, {"float64": [2.0, 4.0]}], "float64") == [2.0, 4.0]
    assert published.worst([{}], "float64") is None


@pytest.mark.parametrize("lacks", ["names", "float32", "faults"])
def test_a_run_of_a_part_is_not_published(document, lacks):
    if lacks == "float32":
        document["results"] = [one for one in document["results"] if one["dtype"] != lacks]
    else:
        document[lacks] = document[lacks][:0] if lacks == "faults" else document[lacks][1:]
    with pytest.raises(ValueError, match=FIRST if lacks == "names" else lacks):
        published.summary_of(document)


def test_mutants_are_counted_without_their_survivors(document):
    family = {"drawn": 5, "killed": 4, "argued": 1, "survivors": [{"module": "x"}]}
    summary = published.summary_of(document, {"families": {"prism": family}})
    assert summary["mutants"] == {"prism": {"drawn": 5, "killed": 4, "argued": 1}}


def test_the_summary_is_the_same_from_the_file(summary, tmp_path):
    path = tmp_path / "published.json"
    published.write(summary, path)
    assert published.read(path) == summary
    lines = path.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith(f'  "{FIRST}": {{"verdict"') for line in lines) == 1
    with pytest.raises(ValueError, match=r"no other.json; run: python -m verification publish"):
        published.read(tmp_path / "other.json")


def test_a_name_too_many_or_too_few_is_stale(summary):
    assert published.stale(summary) == []
    del summary["names"][FIRST]
    summary["names"]["no.such.name"] = {}
    assert published.stale(summary) == sorted([FIRST, "no.such.name"])


def test_the_published_summary_has_every_name():
    missing = published.stale(published.read())
    assert not missing, f"run `python -m verification run`, then `publish`: {missing}"


def test_the_index_has_a_row_for_every_name_with_its_numbers(summary):
    lines = index.render(summary).splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert sorted(rows) == NAMES
    width = next(line for line in lines if line.startswith("|---")).count("|")
    assert {line.replace("\\|", "").count("|") for line in rows.values()} == {width}
    assert "| 3 | 16 | 1.23 | 1/2 |" in rows[FIRST]
    assert "| 1.23 | 4 | 1.23 | – |" in rows[SECOND]
    shown = rows["prism.shaping.nesterov"]
    assert r"[$`T_t = \beta M_t + (1 - \beta) G_t`$](prism.md#prismshapingnesterov)" in shown
    assert "[prism](prism.md#prismprismscale_by_prism)" in rows["prism.prism.scale_by_prism"]
    assert "arXiv 2602.03096v1" in rows["prism.shaping.shape"]
    assert rows["prism.shaping.shape"].endswith("| `yang2026prism` |")


def test_a_name_newer_than_the_summary_has_no_numbers_yet(summary):
    del summary["names"][FIRST]
    assert f"| `{FIRST}` |" in index.render(summary)
    assert "| – | – | – | – |" in index.render(summary)


def test_the_table_of_the_readme_adds_names_up(summary):
    block = index.summary_block(summary)
    count = len(NAMES)
    assert (
        f"| **all** | {count} | {3 * count + 2}/{3 * count + 3} | 3 / 16 | 1.23 / 4 | 1/2 |"
        in block
    )
    names = [name for name in NAMES if published.family(name) == "wsd"]
    assert f"| [wsd](papers/wsd.md) | {len(names)} | {3 * len(names)}/{3 * len(names)} |" in block
    assert "seed 0, with jax 1, rollfast 2, on cpu" in block


def test_mutants_are_a_column_where_they_were_tried(summary):
    families = {"wsd": {"drawn": 9, "killed": 6, "argued": 2}, "other": {"drawn": 5, "killed": 5}}
    assert "mutants" not in index.summary_block(summary)
    block = index.summary_block({**summary, "mutants": families})
    rows = [line for line in block.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert rows[0].endswith("| mutants killed |")
    ends = {line.split()[1]: line.rpartition("| ")[2] for line in rows[2:]}
    assert ends["[wsd](papers/wsd.md)"] == "6/7 |"
    assert ends["[prism](papers/prism.md)"] == "– |"
    assert ends["**all**"] == "11/12 |"


def test_a_block_replaces_what_is_between_its_markers_alone():
    block = f"{index.BEGIN}\nnew\n{index.END}"
    before = f"a\n{index.BEGIN}\nold\n{index.END}\nb\n"
    assert index.with_block(before, block) == f"a\n{block}\nb\n"
    for text in ("a", f"{index.END}{index.BEGIN}", before + before):
        with pytest.raises(ValueError, match="each once"):
            index.with_block(text, block)


def test_publishing_writes_everything_and_the_check_agrees(
    document, repository, monkeypatch, capsys
):
    (repository / "report.json").write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["papers.index", "--check"])
    assert main(["publish", "--report", str(repository)]) == 0
    assert "no longer those" in capsys.readouterr().out
    document["sources"] = tree_of_sources()["sources"]
    (repository / "report.json").write_text(json.dumps(document), encoding="utf-8")
    assert main(["publish", "--report", str(repository)]) == 0
    assert capsys.readouterr().out == "published: published.json\n"
    assert index.main() == 0
    monkeypatch.setattr("sys.argv", ["papers.index"])
    assert index.main() == 0
    monkeypatch.setattr("sys.argv", ["papers.index", "--check"])
    assert "| **all** |" in index.README.read_text(encoding="utf-8")
    written = index.CITATIONS.read_text(encoding="utf-8")
    assert written.count("@software{") == written.count("\n@") == len(NAMES)
    index.CITATIONS.write_text("", encoding="utf-8")
    index.README.write_text(
        index.README.read_text(encoding="utf-8").replace("**all**", "all"), encoding="utf-8"
    )
    assert index.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        "citations.bib is out of date; run: python -m papers.index",
        "README.md is out of date; run: python -m papers.index",
    ]


def test_the_documents_are_written_without_any_library():
    # The session that checks them installs neither NumPy nor JAX; `-S` hides them.
    command = [
        sys.executable,
        "-S",
        "-c",
        "import papers.index as i; i.generated(i.published.read())",
    ]
    done = subprocess.run(command, cwd=published.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_publishing_a_part_says_what_is_missing(document, repository, capsys):
    document["names"] = document["names"][1:]
    (repository / "report.json").write_text(json.dumps(document), encoding="utf-8")
    assert main(["publish", "--report", str(repository)]) == 1
    assert FIRST in capsys.readouterr().out
    assert not (repository / "published.json").exists()


def test_mutants_are_shown_where_they_were_tried(tmp_path):
    path = tmp_path / "mutation.json"
    assert mutants_found.section(path) == "<p>None were tried.</p>"
    survivor = {"module": "psgd.<kron>", "line": 7, "change": "Add to Sub"}
    family = {"drawn": 9, "killed": 6, "argued": 2, "survivors": [survivor]}
    kept = {"seed": 3, "digest": "abc", "families": {"psgd": family, "empty": {}}}
    path.write_text(json.dumps(kept), encoding="utf-8")
    html = mutants_found.section(path)
    assert "<code>psgd.&lt;kron&gt;:7</code> Add to Sub" in html
    cells = [f'<td class="number">{count}</td>' for count in (9, 6, 2, 1)]
    assert f'<th scope="row">psgd</th>{"".join(cells)}' in html
    assert "abc" in html


@pytest.mark.parametrize("wrapped", [True, False])
def test_peers_are_shown_where_they_were_judged(tmp_path, wrapped):
    path = tmp_path / "peers.json"
    assert peers_found.section(path) == "<p>None were judged.</p>"
    row = {
        "peer": "<peer>",
        "version": "1.2",
        "optimizer": "sgd",
        "probe": "rate",
        "case": "warmup",
    }
    row |= {"verdict": "FAIL", "effect": 0.0712345, "unit": "share", "detail": "step 3"}
    rows = [row | {"reproduction": "nox -s peers"}, {"peer": "other", "effect": "inf"}]
    about = {"command": "nox", "versions": {"jax": "9"}, "asked": [], "probes": ["rate"]}
    path.write_text(json.dumps({**about, "rows": rows} if wrapped else rows), encoding="utf-8")
    html = peers_found.section(path)
    for piece in ("&lt;peer&gt; 1.2", "rate warmup", "<pre>nox -s peers</pre>"):
        assert piece in html
    assert '<td class="number">0.0712</td><td>share</td>' in html
    assert html.count("badge fail") == html.count("badge not-run") == 1
    assert html.count("<tr>") == 1 + len(rows)
    assert "None" not in html
    assert ("<dt>Versions</dt><dd>jax 9</dd>" in html) == wrapped
