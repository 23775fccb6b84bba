"""What the daemon leaves out of msgspec is left out for nobody else."""

import subprocess
import sys

import pytest

SMALL = (
    "import sys\n"
    "from reachthru.guest_daemon.small_msgspec import import_msgspec_small\n"
    "import_msgspec_small()\n"
)


@pytest.fixture
def run_python(tmp_path):
    """Runs a program in a Python of its own, where a file in `tmp_path` is found first."""

    def run(program):
        path = [str(tmp_path), *sys.path]
        program = f"import sys; sys.path = {path!r}\n{program}"
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return run


def test_what_was_lent_to_it_is_gone_when_it_is_there(run_python):
    program = (
        f"{SMALL}"
        "assert 'msgspec' in sys.modules and 'decimal' not in sys.modules\n"
        "import decimal, uuid, typing_extensions, msgspec.inspect\n"
        "print(decimal.Decimal('1.5'), uuid.UUID(int=1).int, msgspec.inspect.type_info(int))"
    )
    assert run_python(program).startswith("1.5 1 IntType(")


def test_one_that_is_there_already_stays_as_it_is(run_python):
    program = (
        "import msgspec\nfrom decimal import Decimal\n"
        f"{SMALL}"
        "print(msgspec.json.encode(Decimal('1.5')).decode())"
    )
    assert run_python(program) == '"1.5"'


def test_a_msgspec_that_needs_what_was_left_out_is_imported_whole(run_python, tmp_path):
    (tmp_path / "msgspec.py").write_text("import uuid\nzero = uuid.UUID(int=0).hex\n")
    assert run_python(f"{SMALL}import msgspec\nprint(msgspec.zero[:4])") == "0000"


def test_messages_are_read_and_written_as_ever(run_python):
    program = (
        f"{SMALL}"
        "from reachthru.protocol.codec import Dialect, decode, encode\n"
        "from reachthru.protocol.messages import Notification\n"
        "sent = Notification(data={'a': [1.5, 2**70, None, 'é']})\n"
        "print(decode(encode(sent, Dialect.MUX), Dialect.MUX).message == sent)"
    )
    assert run_python(program) == "True"
