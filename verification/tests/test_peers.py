"""Probes name the wrong term of a peer they have never seen, and clear the right version."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import optax
import pytest

from verification.peers import __main__ as program
from verification.peers import known, reproduction
from verification.peers.crew import Here, Process
from verification.peers.environments import OURS, Failure
from verification.peers.environments import load as load_environments
from verification.peers.examination import examine
from verification.peers.findings import CANNOT_SEE, DEVIATES, FAILS, FAULTS, NOTED, OK, Finding
from verification.peers.keeping import findings_of, read, write
from verification.peers.probes import PROBES, Probe
from verification.peers.side.documented import options
from verification.peers.side.values import decoded
from verification.peers.subject import Entry, Subject
from verification.peers.subject import load as load_peers
from verification.peers.table import render
from verification.report import peers_found
from verification.tests import made_up_peers as made_up

HERE = Here()
FAMILIES = {
    "schedule_free": {"evaluation": made_up.average, "reference": "schedule_free_sgd"},
    "orthogonal": {"reference": "muon"},
    "whitening": {},
}
WRONG = [
    (made_up.schedule_free, "schedule_free", "late weight", "lockstep", "warmup"),
    (made_up.schedule_free, "schedule_free", "b swapped", "lockstep", "constant rate"),
    (made_up.muon, "orthogonal", "coefficient", "lockstep", ""),
    (made_up.muon, "orthogonal", "no momentum", "lockstep", ""),
    (made_up.muon, "orthogonal", "multiplied by the norm", "scale of gradients", "1e-06"),
    (made_up.whiten, "whitening", "fitted to Qg", "scale of Pg", ""),
    (made_up.whiten, "whitening", "Gram over the wrong size", "scale of Pg", ""),
]


def entry_of(factory, family, **fields):
    return Entry(peer="made up", name="one", factory=factory, family=family, **fields)


def found_by(factory, family, *probes, **fields):
    entry = entry_of(factory, family, **{**FAMILIES[family], **fields})
    chosen = [probe for probe in PROBES if probe.name in probes]
    assert len(chosen) == len(probes)
    return list(examine([entry], HERE, "1", probes=chosen))


def faults(findings):
    return [(one.probe, one.case) for one in findings if one.verdict in FAULTS]


@pytest.mark.parametrize(("factory", "family", "wrong", "probe", "case"), WRONG)
def test_a_wrong_term_is_named(factory, family, wrong, probe, case):
    said = found_by(partial(factory, wrong=wrong), family, probe)
    assert (probe, case) in faults(said)
    (one,) = [f for f in said if f.case == case]
    assert one.effect > (one.limit or 0.0)


@pytest.mark.parametrize(
    ("factory", "family", "probe"),
    [
        (made_up.schedule_free, "schedule_free", "lockstep"),
        (made_up.muon, "orthogonal", "lockstep"),
        (made_up.whiten, "whitening", "scale of Pg"),
    ],
)
def test_the_right_version_is_cleared(factory, family, probe):
    said = found_by(factory, family, probe)
    assert said
    assert faults(said) == []


def test_a_convention_of_others_is_noted_and_no_fault():
    said = found_by(partial(made_up.schedule_free, wrong="decay at z"), "schedule_free", "lockstep")
    assert faults(said) == []
    (one,) = [finding for finding in said if finding.verdict == NOTED]
    assert one.case == "weight decay"
    assert "decay at z" in one.detail


def test_an_unused_option_a_silent_one_and_a_refused_value_are_found():
    probes = ("documented values", "unknown value", "effect of options")
    said = faults(found_by(made_up.silent, "schedule_free", *probes, evaluation=None, reference=""))
    assert said == [
        ("documented values", "mode='two'"),
        ("unknown value", "mode"),
        ("effect of options", "gamma"),
    ]


def test_what_raises_fails_and_says_where():
    def factory(learning_rate):
        raise ValueError("never")

    (one,) = found_by(factory, "whitening", "first steps")
    assert (one.verdict, one.detail) == (FAILS, "build raises ValueError: never")


def test_what_takes_no_step_is_said_once():
    def factory(learning_rate):
        return optax.GradientTransformation(lambda params: 1 / 0, None)

    entry = entry_of(factory, "whitening")
    (one,) = examine([entry], HERE, "1")
    assert (one.probe, one.detail) == (
        "first steps",
        "init raises ZeroDivisionError: division by zero",
    )


def test_a_probe_that_raises_is_not_held_against_the_peer():
    def function(subject):
        raise KeyError("slip")

    (one,) = examine(
        [entry_of("optax:sgd", "whitening")], HERE, "1", probes=[Probe("p", "", function)]
    )
    assert (one.verdict, one.detail) == (CANNOT_SEE, "the probe raises KeyError: 'slip'")


def test_what_takes_one_array_alone_is_given_one_from_then_on():
    def init(params):
        return params + 0

    def factory(learning_rate):
        return optax.GradientTransformation(init, lambda g, state, params: (-g, state))

    first, second = found_by(factory, "whitening", "first steps", "zero gradients")
    assert (first.verdict, second.verdict) == (FAILS, OK)
    assert first.detail.startswith("init raises TypeError")


def test_a_nan_that_stays_is_found():
    (one,) = found_by("optax:sgd", "whitening", "one NaN")
    assert (one.verdict, one.effect) == (DEVIATES, 1.0)


def test_the_weights_of_an_average_are_measured():
    (*_, one) = found_by(made_up.schedule_free, "schedule_free", "evaluation")
    assert one.verdict == OK
    swapped = partial(made_up.schedule_free, wrong="b swapped")
    assert faults(found_by(swapped, "schedule_free", "evaluation"))


def test_documentation_is_read():
    said = options(made_up.silent)
    assert said["mode"]["values"] == ["one", "two"]
    assert said["gamma"]["kind"] == "float"


def test_options_are_decoded():
    text = {"a": ({"call": "builtins:max", "arguments": (1, 2)}, {"get": "math:inf"}), "b": [1]}
    assert decoded(text) == {"a": (2, float("inf")), "b": (1,)}


@pytest.fixture
def sgd():
    subject = Subject(entry_of("optax:sgd", "schedule_free"), HERE)
    subject.run({"w": "np.ones((2, 3))"}, {"momentum": 0.5})
    return subject


def test_a_reproduction_runs(sgd, capsys):
    text = sgd.reproduction("print(update['w'])")
    assert len(text.splitlines()) == 5
    exec(text, {})
    assert capsys.readouterr().out == "[-0.0015 -0.0015 -0.0015]\n"


def test_a_reproduction_of_torch_is_a_program(sgd):
    text = reproduction.text("torch", replace(sgd.last, evaluation=True), sgd.texts, "")
    compile(text, "reproduction", "exec")
    lines = text.splitlines()
    assert len(lines) == 5
    assert lines[2].endswith("optimizer.train()")
    assert lines[3].endswith("optimizer.step()")
    assert lines[4] == "optimizer.eval(); print(parameters)"


def test_a_process_that_has_ended_is_started_anew():
    place = Process(OURS, program.sys.executable, "torch")
    try:
        assert "numpy" in place.ask("versions", ["numpy"])
        place._process.kill()
        with pytest.raises(Failure, match="the process ended"):
            place.ask("versions", [])
        assert "python" in place.ask("versions", [])
    finally:
        place.close()


def test_names_in_the_files_exist():
    peers = load_peers()
    assert set(peers) == {OURS, *load_environments()}
    probes = {probe.name for probe in PROBES}
    assert len(probes) == len(PROBES)
    entries = {(name, entry.name) for name, rows in peers.items() for entry in rows}
    for one in known.load():
        assert bool(one.found) != bool(one.unseen), one.name
        for peer, optimizer, probe, _ in one.found:
            assert (peer, optimizer) in entries, one.name
            assert probe in probes, one.name
    for rows in peers.values():
        for entry in rows:
            assert set(entry.only) <= probes


def finding(**fields):
    row = {"peer": "p", "version": "", "optimizer": "o", "probe": "lockstep", "verdict": OK}
    return Finding(**{**row, **fields})


def test_recall_needs_the_right_place_and_verdict():
    rows = [known.Known(name="K", text="t", found=(("p", "o", "lockstep", "warm"),))]
    for verdict, case, where in [
        (DEVIATES, "warmup", "again"),
        (OK, "warmup", "missed"),
        (NOTED, "warmup", "missed"),
        (DEVIATES, "decay", "missed"),
    ]:
        said = known.recall([finding(verdict=verdict, case=case)], rows)
        assert [name for name in ("again", "missed") if getattr(said, name)] == [where]
    assert known.recall([finding(peer="q")], rows).skipped == rows


def test_findings_are_kept_and_read(tmp_path):
    path = tmp_path / "peers.json"
    findings = [finding(verdict=DEVIATES, effect=np.inf, detail="far"), finding(effect=0.5)]
    unseen = known.Known(name="K", text="a slip", unseen="it is <prose>")
    write(path, findings, {"p": "jax 1"}, known.recall(findings, [unseen]))
    html = peers_found.section(path)
    assert "a slip: it is &lt;prose&gt;" in html
    assert "0 of 0 known mistakes" in html
    again = findings_of(read(path))
    assert again[1] == findings[1]
    assert again[0].effect is None
    assert "no finite size" in again[0].detail
    assert json.loads(path.read_text())["versions"] == {"p": "jax 1"}
    assert read(tmp_path / "absent.json") == {}


def test_the_table_counts_and_lists():
    printed = render([finding(), finding(verdict=DEVIATES, case="c", effect=0.25, unit="of it")])
    assert "1 ok, 1 deviates" in printed
    assert "lockstep / c" in printed
    assert "0.25 of it" in printed
    assert len(printed.splitlines()) == 3


def test_one_factory_is_examined_by_the_command(capsys):
    name = "verification.tests.made_up_peers:silent"
    given = ["--factory", name, "--family", "schedule_free", "-k", "effect"]
    assert program.main(given) == 1
    assert "gamma" in capsys.readouterr().out


def test_an_unknown_peer_is_refused(capsys):
    with pytest.raises(SystemExit):
        program.main(["keras"])
    assert "known are ours, optax" in capsys.readouterr().err


def test_a_peer_that_cannot_be_installed_is_said(monkeypatch, tmp_path, capsys):
    def prepare(name, peer, folder):
        raise Failure("no interpreter")

    monkeypatch.setattr(program, "prepare", prepare)
    output = tmp_path / "peers.json"
    assert program.main(["optax", "--output", str(output)]) == 0
    assert json.loads(output.read_text())["versions"] == {"optax": "not installed: no interpreter"}
    assert "no interpreter" in capsys.readouterr().err
