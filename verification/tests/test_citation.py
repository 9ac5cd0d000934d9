"""How a reference function is cited: complete, well-formed, and with nothing made up."""

import json
import re
import unicodedata

import pytest

import rollfast
from verification import citation
from verification.__main__ import main
from verification.registry import Note, notes

NAME = "psgd.geometry.quad_matrix"
PAPERS = citation.bibliography()


def note(source, name="family.module.function", text=""):
    return Note(name, "papers/family.md", f"{text}\n\nSource: {source}\n\nMore.")


def keys(source, text=""):
    return [paper.key for paper in citation.papers_of(note(source, text=text))]


def test_every_entry_of_the_bibliography_is_read():
    text = citation.BIBLIOGRAPHY.read_text(encoding="utf-8")
    assert len(PAPERS) == text.count("\n@") + text.startswith("@")
    for paper in PAPERS.values():
        assert {"author", "title", "year"} <= set(paper.fields), paper.key
        assert paper.text.count("{") == paper.text.count("}")
    assert PAPERS["higham2008functions"].families == ["Higham"]
    assert PAPERS["dao2026gram"].families == ["Dao AI Lab"]
    assert PAPERS["defazio2024road"].families[1:3] == ["Yang", "Mehta"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Li, arXiv 2402.11858v7; psgd_torch a8616f1.", ["li2024stochastic", "li2026psgdtorch"]),
        ("psgd_torch a8616f1; arXiv 2402.11858.", ["li2026psgdtorch", "li2024stochastic"]),
        ("Higham, Functions of Matrices (2008), chapter 8.", ["higham2008functions"]),
        ("Higham, another book (1996).", []),
        ("arXiv 2405.15682v4, 2511.07767v1.", ["defazio2024road", "pun2025schedulers"]),
        ("after rollfast 0.1.0; no paper.", []),
        ("arXiv 12402.118580.", []),
    ],
)
def test_papers_are_found_in_a_source_in_its_order(source, expected):
    assert keys(source) == expected


def test_a_source_may_point_to_a_table_or_to_the_function_beside_it():
    assert keys("see the table below.", text="| arXiv 2505.16932 |") == ["amsel2025polar"]
    assert keys("see the text.", text="| arXiv 2505.16932 |") == []
    beside = note("as `quad_matrix`.", name="psgd.geometry.other")
    assert citation.papers_of(beside) == citation.papers_of(notes()[NAME])


@pytest.mark.parametrize("name", notes())
def test_every_paper_of_a_source_is_in_the_bibliography(name):
    source = notes()[name].source
    found = citation.papers_of(notes()[name])
    numbers = set(re.findall(r"\b\d{4}\.\d{4,5}(?=v|\b)", source))
    assert numbers <= {paper.fields.get("eprint") for paper in found}
    own = ("no paper", "definition", "this project", "as `", "rollfast 0.1.0")
    assert found or any(word in source for word in own)


@pytest.mark.parametrize("name", notes())
def test_the_bibtex_of_every_name_is_well_formed(name):
    text = citation.bibtex(name)
    own = next(entry for entry in citation.ENTRY.finditer(text) if entry[1] == "software")
    assert own[2] == f"rollfast:{name}"
    fields = dict(citation.FIELD.findall(own[3]))
    assert set(fields) - {"related"} == {"author", "title", "version", "howpublished", "note"}
    assert fields["version"] == rollfast.__version__
    follows = [key for key in fields.get("related", "").split(",") if key]
    assert [entry[2] for entry in citation.ENTRY.finditer(text)] == [own[2], *follows]
    for value in fields.values():
        assert value.count("{") - value.count(r"\{") == value.count("}") - value.count(r"\}")
        bare = re.sub(r"\$[^$]*\$", "", value)
        assert not re.search(r"(?<!\\)[_#&%]|`", bare), value
    assert name.replace("_", r"\_") in fields["title"]


def test_the_authors_are_those_of_the_citation_file(tmp_path, monkeypatch):
    assert [*citation.authors()] == [{"name": "The rollfast authors"}]
    path = tmp_path / "CITATION.cff"
    monkeypatch.setattr(citation, "SOFTWARE", path)
    path.write_text(
        'title: x\nauthors:\n  - family-names: Doe\n    given-names: "Jane B."\n'
        "  - {family-names: Roe, given-names: Jim}\n  - name: A group\nlicense: MIT\n"
    )
    citation.authors.cache_clear()
    try:
        assert [dict(one) for one in citation.authors()] == [
            {"family-names": "Doe", "given-names": "Jane B."},
            {"family-names": "Roe", "given-names": "Jim"},
            {"name": "A group"},
        ]
        assert "author = {Doe, Jane B. and Roe, Jim and {A group}}" in citation.bibtex(NAME)
        assert citation.plain(NAME).startswith("Jane B. Doe, Jim Roe, A group. rollfast")
        for content in ("title: x\n", "authors:\n  - alias: x\n"):
            path.write_text(content)
            citation.authors.cache_clear()
            with pytest.raises(ValueError, match=r"CITATION\.cff"):
                citation.authors()
    finally:
        citation.authors.cache_clear()


def read_yaml(lines, depth=0):
    """Read the little of YAML that is written: nested keys and lists, texts quoted as in JSON."""
    found = None
    while lines and len(lines[0]) - len(lines[0].lstrip(" ")) >= depth:
        indent = len(lines[0]) - len(lines[0].lstrip(" "))
        assert indent == depth
        line = lines[0].strip()
        if line.startswith("- "):
            found = [] if found is None else found
            lines[0] = " " * (depth + 2) + line[2:]
            found.append(read_yaml(lines, depth + 2))
            continue
        found = {} if found is None else found
        name, _, value = line.partition(":")
        assert name not in found
        del lines[0]
        found[name] = json.loads(value) if value else read_yaml(lines, depth + 2)
    return found


def test_the_citation_file_of_a_function_has_its_papers():
    found = read_yaml(citation.cite("schedule_free.methods.schedule_free_prism", "cff").split("\n"))
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == rollfast.__version__
    assert found["authors"] == [{"name": "The rollfast authors"}]
    assert [one["year"] for one in found["references"]] == [2024, 2025, 2026]
    assert found["references"][0]["authors"][5] == {
        "family-names": "Cutkosky",
        "given-names": "Ashok",
    }
    assert found["references"][0]["identifiers"] == [
        {"type": "other", "value": "arXiv:2405.15682v4"}
    ]
    assert "references" not in read_yaml(citation.cff("guards.global_norm").split("\n"))


def test_accents_of_tex_become_letters():
    assert citation._cff_person(r"H{\"a}gele, Alexander")["family-names"] == "Hägele"
    assert citation._cff_person("others") == {"name": "and others"}


def test_the_text_names_version_and_papers():
    text = citation.cite(NAME, "text")
    assert f"rollfast reference, {NAME}, version {rollfast.__version__}." in text
    title = "Stochastic Hessian Fittings with Lie Groups"
    assert f"\nLi, {title}, 2024, arXiv 2402.11858v7." in text
    assert "\nPooladzandi and Li, " in citation.plain("psgd.xmat.product")
    assert "\nDefazio et al., The Road" in citation.plain("schedule_free.sequences.average")


def test_the_citation_file_of_the_software_has_every_paper():
    text = citation.SOFTWARE.read_text(encoding="utf-8")
    titles = {
        unicodedata.normalize("NFC", re.sub(r"[{}\\]", "", paper.fields["title"]))
        for paper in PAPERS.values()
    }
    assert [title for title in sorted(titles) if title not in text] == []
    assert f"\nversion: {rollfast.__version__}\n" in text


def test_the_command_prints_a_citation_or_says_what_is_wrong(capsys):
    assert main(["cite", NAME]) == 0
    assert f"@software{{rollfast:{NAME}," in capsys.readouterr().out
    assert main(["cite", "no.such.name"]) == 1
    assert "'no.such.name' is not a name" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"'html' is not allowed; it must be one of \['bibtex'"):
        citation.cite(NAME, "html")
