"""What ends a command: each is one line for the operator.

::

    CommandError                      exit status 1
    +-- SettingsError                 file, section, key, value, what is allowed: exit status 2
    +-- TransportUnavailableError     this kind of port can't be had on this machine
    +-- DoorError                     the applications' door can't be used, or refuses
        +-- NoDaemonError             nobody is behind it
"""


class CommandError(Exception):
    exit_status = 1


class SettingsError(CommandError):
    exit_status = 2


class TransportUnavailableError(CommandError):
    """It stays so however often it is tried."""


class DoorError(CommandError):
    pass


class NoDaemonError(DoorError):
    pass
