from __future__ import annotations

import pytest

from jetpress.deploy.suggest import did_you_mean, misspelt_command, misspelt_option

COMMANDS = ("run", "plan", "check", "report")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rn", "digits"], "there is no command 'rn': did you mean 'run'?"),
        (["--version", "chek"], "there is no command 'chek': did you mean 'check'?"),
        (["run", "rn"], ""),
        (["--help"], ""),
        (["zzz"], ""),
        ([], ""),
    ],
)
def test_a_misspelt_command_is_named_with_the_one_that_is_near(arguments: list[str], said: str) -> None:
    assert misspelt_command(arguments, COMMANDS) == said


def test_what_is_near_nothing_gets_no_guess() -> None:
    assert did_you_mean("epoch", ["epochs", "ema"]) == "did you mean 'epochs'?"
    assert did_you_mean("zzz", ["epochs"]) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits", "--traget", "host"], "there is no option --traget: did you mean '--target'?"),
        (["digits", "--traget=host"], "there is no option --traget: did you mean '--target'?"),
        (["digits", "--targ", "host"], ""),
        (["digits", "--set", "train.epochs=3", "--json"], ""),
        (["--", "--traget"], ""),
        (["--zzzzzz"], ""),
        (["-x"], ""),
    ],
)
def test_a_misspelt_option_is_named_with_the_one_that_is_near(arguments: list[str], said: str) -> None:
    assert misspelt_option(arguments, ["--target", "--set", "--json"]) == said
