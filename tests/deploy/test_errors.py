from __future__ import annotations

import errno
import sys

import pytest

from jetpress.deploy import errors


def test_every_kind_of_failure_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in errors.JetpressError.__subclasses__()]
    assert sorted(codes) == [2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "full"), (errno.EACCES, "permission"), (errno.EROFS, "permission")]
)
def test_an_os_error_becomes_a_message_with_a_remedy(number: int, word: str, tmp_path) -> None:
    found = errors.from_os_error(OSError(number, "x", str(tmp_path / "a" / "b")))
    assert word in found.what
    assert found.hint
    assert found.exit_code == 5


@pytest.mark.parametrize("code", [None, 0, 1, "done"])
def test_code_of_the_user_that_ends_the_process_has_failed(code: object) -> None:
    said = r"test_errors.py, line \d+, ended the process: sys.exit\("
    with pytest.raises(errors.RecipeError, match=said) as caught, errors.not_ended():
        sys.exit(code)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
