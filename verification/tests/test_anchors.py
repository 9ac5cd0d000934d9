"""Addresses into the report: every name, check and fault has one, and it stays the same."""

import json
import random
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from jsonschema import Draft7Validator

from verification import registry
from verification.cases import all_checks
from verification.document import SCHEMA, compose, tree_of_sources
from verification.faults import CATALOGUE
from verification.report import read_report, render_page, violations, write_report
from verification.report.identity import check_id, fault_id, repeated
from verification.report.reproductions import digest
from verification.report.store import SCHEMA_PATH
from verification.results import Result, Verdict

FORMS = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))


class Ids(HTMLParser):
    """The ids of a page, in their order, and where its links within the page lead."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.targets, self.headings, self.open = [], [], {}, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        href = given.get("href", "")
        self.targets += [unquote(href[1:])] if href.startswith("#") else []
        if tag == "section" and given.get("class") == "name":
            self.open = [given["id"]]
        if tag == "a" and given.get("class") == "self" and self.open:
            self.headings.setdefault(self.open[0], unquote(href[1:]))


def result(name, kind="case", **changes):
    values = {"name": name, "kind": kind, "dtype": "float64", "verdict": Verdict.PASS}
    values |= {"error": 1.0, "budget": 4.0, "unit": "eps", "reason": "one product"}
    return Result(**(values | changes))


@pytest.fixture(scope="module")
def document():
    """One result for every name, and every fault of the catalogue."""
    results = [result(name) for name in registry.reference_names()]
    results += [result(results[0].name, "invariant", field=field) for field in ("norm", "sign")]
    faults = [
        {"name": fault.name, "target": fault.target, "source": fault.source}
        | {"caught": True, "by": "a case", "error": 1.0}
        for fault in CATALOGUE
    ]
    return compose(results, faults, 0, "python -m verification run")


def test_every_name_has_an_address_and_shows_it(document, tmp_path):
    page = Ids(render_page(document, tmp_path))
    assert set(registry.reference_names()) <= set(page.ids)
    assert page.headings == {name: name for name in registry.reference_names()}


def test_every_name_shows_how_it_is_cited(document, tmp_path):
    shown = render_page(document, tmp_path)
    for name in registry.reference_names():
        assert f'<pre class="copy">@software{{rollfast:{name},\n' in shown


def test_every_check_and_fault_has_an_address(document, tmp_path):
    page = Ids(render_page(document, tmp_path))
    wanted = {check_id(one) for one in document["results"]}
    wanted |= {fault_id(one) for one in document["faults"]}
    assert wanted <= set(page.ids) & set(page.targets)


def test_addresses_are_unique_and_every_link_has_its_end(document, tmp_path):
    page = Ids(render_page(document, tmp_path))
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.targets) <= set(page.ids)
    assert not [one for one in page.ids if one.split() != [one]]


def test_addresses_do_not_depend_on_order_or_on_what_was_measured(document, tmp_path):
    other = json.loads(json.dumps(document))
    for part in ("names", "results", "faults"):
        random.Random(0).shuffle(other[part])
    for one in other["results"]:
        one |= {"error": 9.0, "verdict": "FAIL", "where": "elsewhere", "seconds": 5.0}
        if one["kind"] == "case":
            one["field"] = "another"
    before, after = (Ids(render_page(one, tmp_path)).ids for one in (document, other))
    assert before != after
    assert set(before) == set(after) - {"section-failures"}


def test_the_declared_checks_have_titles_of_their_own():
    titles = [check.title for check in all_checks()]
    assert len(set(titles)) == len(titles)


def test_two_parts_with_one_address_are_refused_but_kept(document, tmp_path):
    twice = {**document, "results": [*document["results"], document["results"][0]]}
    assert repeated(document) == []
    with pytest.raises(ValueError, match=f"{document['results'][0]['name']}:case:float64"):
        write_report(twice, tmp_path)
    assert (tmp_path / "report.json").exists()


def test_a_report_says_which_tree_it_is_of(document, tmp_path):
    assert set(document["sources"]) == {"reference", "production"}
    shown = render_page(document, tmp_path)
    assert all(one[:16] in shown for one in document["sources"].values())
    assert f"in form {SCHEMA} of" in shown
    given = compose([], [], 0, "", tree={"commit": "v9", "sources": {"reference": "ab"}})
    assert (given["commit"], given["sources"]) == ("v9", {"reference": "ab"})
    assert "v9" in render_page(given, tmp_path)


def test_the_digest_is_of_the_sources_and_of_no_test(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "a.py").write_text("1\n")
    before = digest(tmp_path)
    (tmp_path / "tests" / "test_a.py").write_text("2\n")
    assert digest(tmp_path) == before
    (tmp_path / "a.py").write_text("3\n")
    assert digest(tmp_path) != before
    assert tree_of_sources() == tree_of_sources()


def test_a_standard_validator_agrees_on_a_document_that_fits(document, tmp_path):
    Draft7Validator.check_schema(FORMS)
    write_report(document, tmp_path)
    written = read_report(tmp_path / "report.json")
    assert violations(written) == []
    assert [*Draft7Validator(FORMS).iter_errors(written)] == []


BROKEN = {
    "no names": lambda d: d.pop("names"),
    "unknown form": lambda d: d.update(schema=2),
    "negative count": lambda d: d["summary"].update(passed=-1),
    "unknown verdict": lambda d: d["results"][0].update(verdict="OK"),
    "error in words": lambda d: d["results"][0].update(error="big"),
    "no source": lambda d: d["names"][0].pop("source"),
    "number for a boolean": lambda d: d["faults"][0].update(caught=1),
    "number for a digest": lambda d: d["sources"].update(reference=1),
    "list for a version": lambda d: d["versions"].update(jax=["1"]),
    "too short a row": lambda d: d["results"][0].update(floor_series=[[0, 1.0]]),
    "too long a row": lambda d: d["results"][0].update(floor_series=[[0, 1.0, 2.0, 3.0]]),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_standard_validator_agrees_on_a_document_that_does_not_fit(document, change):
    broken = json.loads(json.dumps(document))
    change(broken)
    assert violations(broken)
    assert [*Draft7Validator(FORMS).iter_errors(broken)]


def keywords(schema):
    """The keywords of a schema, each with those that stand beside it."""
    yield set(schema)
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [*schema.get("anyOf", []), schema.get("items"), schema.get("additionalProperties")]
    for part in parts:
        if isinstance(part, dict):
            yield from keywords(part)


def test_the_schema_uses_what_both_validators_know():
    known = {"type", "enum", "anyOf", "required", "properties", "additionalProperties", "items"}
    known |= {"minItems", "maxItems", "minimum", "$ref", "$defs", "$schema", "title", "description"}
    for used in keywords(FORMS):
        assert used <= known
        # Older validators skip what stands beside a reference.
        assert "$ref" not in used or used <= {"$ref", "description"}


@pytest.mark.parametrize("content", ['{"schema": 2}', '{"schema": true}', "{}", "[]"])
def test_a_report_of_an_unknown_form_is_refused(content, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"report.json has the schema .*; this program reads \[1\]"
    ):
        read_report(path)
    assert SCHEMA in FORMS["properties"]["schema"]["enum"]
