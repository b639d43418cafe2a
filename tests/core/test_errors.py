"""One tree of errors; a leaf owns its exit code, and the codes are those that scripts rely on."""

from __future__ import annotations

import pytest

from lstmcli.cli.app import _exit_code
from lstmcli.core import errors

CODES = {
    "LstmError": 1,
    "UsageError": 2,
    "ConfigError": 3,
    "DataError": 4,
    "RunError": 5,
    "DivergedError": 6,
    "ResourceError": 7,
    "Interrupted": 130,
    "Terminated": 143,
    "HungUp": 129,
    "CpuTimeOver": 152,
    "Signalled": 138,
}


def test_every_error_has_its_exit_code():
    found = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert {name: value.exit_code for name, value in found.items()} == CODES
    assert all(issubclass(value, errors.LstmError) for value in found.values())


def test_a_message_says_what_and_how_to_mend_it():
    assert str(errors.DataError("what", "how")) == "what\n  how"
    assert str(errors.DataError("what")) == "what"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.ConfigError("no such key", "did you mean x?"), 3, "error: no such key\n  did you mean x?\n"),
        (errors.Terminated("stopped at step 3"), 143, "stopped at step 3\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 7, "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 7, "train.batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 7, "out of memory"),
        (PermissionError(13, "Permission denied", "runs/x"), 7, "error: Permission denied: runs/x\n"),
        (OSError(28, "No space left on device"), 7, "error: No space left on device\n"),
    ],
)
def test_what_the_command_line_makes_of_an_error(capsys, error, code, said):
    def call():
        raise error

    assert _exit_code(call) == code
    assert said in capsys.readouterr().err


def test_a_bug_is_not_hidden():
    def call():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        _exit_code(call)
