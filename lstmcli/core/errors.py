"""Everything a user can cause, as one tree; a leaf owns its exit code.

    LstmError
    ├── UsageError       2   a wrong word on the command line
    ├── ConfigError      3   a config that is missing, malformed or invalid
    ├── DataError        4   data that are missing, malformed or too short
    ├── RunError         5   a run or checkpoint that is missing or damaged
    ├── DivergedError    6   NaN or Inf in training
    ├── ResourceError    7   disk, memory, network, permissions
    └── Interrupted    130   SIGINT
        └── Terminated 143   SIGTERM
            ├── HungUp       129   SIGHUP: the terminal or the connection is gone
            ├── CpuTimeOver  152   SIGXCPU: the limit of processor time is reached
            └── Signalled    138   SIGUSR1: the warning of a batch system

Anything else that escapes is a bug and ends with exit code 1.
"""

import signal


class LstmError(Exception):
    """One clear message: what is wrong, where, and (``hint``) how to mend it."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(LstmError):
    exit_code = 2


class ConfigError(LstmError):
    exit_code = 3


class DataError(LstmError):
    exit_code = 4


class RunError(LstmError):
    exit_code = 5


class DivergedError(LstmError):
    exit_code = 6


class ResourceError(LstmError):
    exit_code = 7


class Interrupted(LstmError):
    exit_code = 130


class Terminated(Interrupted):
    exit_code = 143


class HungUp(Terminated):
    exit_code = 129


class CpuTimeOver(Terminated):
    exit_code = 128 + getattr(signal, "SIGXCPU", 24)


class Signalled(Terminated):
    exit_code = 128 + getattr(signal, "SIGUSR1", 10)
