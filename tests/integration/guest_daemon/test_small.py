"""It runs in every VM of a cloud: what it must not cost."""

import subprocess
import sys
import time

HEAVY = {
    *("asyncio", "argparse", "concurrent", "ctypes", "decimal", "difflib", "email", "hashlib"),
    *("http", "importlib.metadata", "inspect", "ipaddress", "json", "logging", "msgspec.inspect"),
    *("multiprocessing", "pathlib", "platform", "random", "shutil", "ssl", "statistics"),
    *("subprocess", "tempfile", "threading", "typing_extensions", "urllib", "uuid", "xml"),
    *("serial",),
}
RSS_LIMIT_KIB = 14 * 1024
COMPILE_ALLOWANCE_KIB = 2 * 1024  # where no bytecode is kept, the compiler's leavings count too


def test_a_plain_run_imports_nothing_heavy(start_guest, attach):
    guest = start_guest()
    guest.stop()
    paths = [path for path in sys.path if path]
    program = (
        f"import sys; sys.path = {paths!r}\n"
        "from reachthru.guest_daemon.cli import main\n"
        f"main(['run', '--config', {str(guest.config)!r}])\n"
        "print(*sys.modules)"
    )
    # Without `site`, whose additions are this machine's and not the daemon's.
    command = [sys.executable, "-S", "-E", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        attach().register()
        daemon.terminate()
        imported = set(daemon.communicate(timeout=5)[0].split())
    assert "reachthru.guest_daemon.shell" in imported
    assert imported & HEAVY == set()


def test_its_memory_and_its_start(start_guest, attach, record_property):
    guest = start_guest()
    host = attach()
    host.register()
    start_ms = (time.monotonic() - guest.started_at) * 1000
    for number in range(20):
        host.challenge(number)
    record_property("rss_kib", guest.rss_kib())
    record_property("start_to_init_ms", start_ms)
    assert guest.rss_kib() < RSS_LIMIT_KIB + COMPILE_ALLOWANCE_KIB
    assert start_ms < 1500  # 50 ms when nothing else runs here
