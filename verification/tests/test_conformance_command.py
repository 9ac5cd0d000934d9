import json

import pytest

from verification.__main__ import main

WRONG = """
import rollfast


def sgd(learning_rate, weight_decay=0.0, **options):
    return rollfast.schedule_free_sgd(learning_rate, weight_decay=2 * weight_decay, **options)
"""


def _check(*arguments):
    return main(["check", *arguments, "--against", "schedule_free_sgd", "--steps", "8"])


def test_ours_exits_with_zero(capsys):
    assert _check("rollfast:schedule_free_sgd", "--strict", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["steps"]) == ("equal", 8)


def test_a_convention_is_accepted_unless_strictly_none_is(capsys):
    evaluation = ("--evaluation", "optax.contrib:schedule_free_eval_params")
    assert _check("optax.contrib:schedule_free_sgd", *evaluation) == 0
    assert capsys.readouterr().out.startswith("EQUAL UP TO `weight index shift`")
    assert _check("optax.contrib:schedule_free_sgd", *evaluation, "--strict") == 1


def test_a_wrong_one_in_a_file_exits_with_one(tmp_path, capsys):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    options = json.dumps({"learning_rate": 0.1, "weight_decay": 0.1})
    assert _check(f"{path}:sgd", "--options", options) == 1
    assert "DIFFERENT" in capsys.readouterr().out
    theirs = json.dumps({"learning_rate": 0.1, "weight_decay": 0.2})
    assert _check(f"{path}:sgd", "--options", options, "--reference-options", theirs) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rollfast.schedule_free_sgd"], "is not of the form module:function"),
        (["rollfast:no_such"], "no_such"),
        (["nowhere.py:sgd"], "there is no file"),
        (["rollfast:schedule_free_sgd", "--options", "{"], "it must be JSON"),
        (["rollfast:schedule_free_sgd", "--options", "3"], "it must be a JSON object"),
        (["optax:sgd", "--options", '{"b1": 1}'], "Give its arguments by --options"),
        (["rollfast:schedule_free_sgd", "--problem", "none"], "problem is 'none'"),
    ],
)
def test_misuse_exits_with_two_and_says_what_is_allowed(arguments, message, capsys):
    assert _check(*arguments) == 2
    assert message in capsys.readouterr().err
