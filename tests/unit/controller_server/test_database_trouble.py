"""A database that is gone, frozen, full or read-only: said once, nothing lost, well again."""

import asyncio
import contextlib
import subprocess
import time

import pytest
from sqlalchemy import create_engine, text

from reachthru.controller_server.store import database as database_module
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.controller_server.ticks import each_second
from reachthru.controller_server.upkeep import Upkeep
from servers.postgresql import PostgresqlServer

DEADLINE_S = 30


@pytest.fixture(scope="module")
def own_server():
    """One that tests stop and freeze. Its tables can be put on a disk of 16 MB."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture
async def ledger(own_server):
    database = Database(own_server.make_database())
    await database.upgrade()
    await database.open()
    yield Ledger(database, ["log"], "controller-1")
    await database.close()


async def add_until_taken(ledger, *changes):
    """As the intake does. Returns how often it had to try."""
    tries = 0
    async with asyncio.timeout(DEADLINE_S):
        while True:
            tries += 1
            try:
                await ledger.add(changes)
                return tries
            except DatabaseError as error:
                assert not error.of_data
                await asyncio.sleep(0.1)


async def ids(ledger):
    return sorted(fault.id for fault in await ledger.faults(FaultFilter(limit=10_000)))


def said(caplog, words):
    return len([line for line in caplog.messages if words in line])


async def test_a_restart_of_the_server_is_not_even_noticed(own_server, ledger, arrived, caplog):
    await ledger.add([arrived(1)])
    own_server.stop()
    own_server.start()
    await ledger.add([arrived(2)])
    assert await ids(ledger) == ["fault-1", "fault-2"]
    assert caplog.messages == []


async def test_a_server_that_is_killed_and_comes_back_has_everything(
    own_server, ledger, arrived, caplog
):
    await ledger.add([arrived(1)])
    own_server.kill()
    writing = asyncio.create_task(add_until_taken(ledger, arrived(2)))
    with pytest.raises(DatabaseError):
        await ledger.faults(FaultFilter())
    await asyncio.sleep(1)
    await asyncio.to_thread(own_server.start)
    assert await writing > 3
    assert await ids(ledger) == ["fault-1", "fault-2"]
    assert said(caplog, "nothing is lost") == 1
    assert said(caplog, "it takes everything again") == 1


async def test_a_standby_that_takes_over_is_found(own_server, arrived):
    """The URL names both; the one that takes writes is asked."""
    with PostgresqlServer() as other:
        for server in (own_server, other):
            server.execute("CREATE DATABASE failover TEMPLATE template0")
            database = Database(server.url("failover"))
            await database.upgrade()
            await database.close()
        hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (own_server, other))
        database = Database(
            f"postgresql+psycopg://postgres@/failover?{hosts}&target_session_attrs=read-write"
        )
        await database.open()
        ledger = Ledger(database, ["log"], "controller-1")
        await ledger.add([arrived(1)])
        # The first one is demoted: it lives, and takes no writes any more.
        own_server.execute("ALTER DATABASE failover SET default_transaction_read_only = on")
        own_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'failover'"
        )
        await add_until_taken(ledger, arrived(2))
        assert await ids(ledger) == ["fault-2"]  # these two are no replicas of each other
        await database.close()


async def test_tries_to_reconnect_are_spaced(own_server, ledger, monkeypatch):
    asked = []
    own_server.stop()
    with contextlib.suppress(DatabaseError):
        await ledger.faults(FaultFilter())
    engine = ledger._database._engine
    connect = engine.dialect.connect
    monkeypatch.setattr(
        engine.dialect,
        "connect",
        lambda *a, **k: (asked.append(time.monotonic()), connect(*a, **k)),
    )
    until = time.monotonic() + 2
    while time.monotonic() < until:
        with contextlib.suppress(DatabaseError):
            await ledger.faults(FaultFilter())
        await asyncio.sleep(0.005)
    own_server.start()
    assert 2 <= len(asked) < 25


async def test_a_frozen_server_hangs_nobody_for_ever(
    own_server, ledger, arrived, monkeypatch, caplog
):
    monkeypatch.setattr(database_module, "FROZEN_S", 1.0)
    await ledger.add([arrived(1)])
    own_server.freeze()
    began = time.monotonic()
    with pytest.raises(DatabaseError):
        await ledger.add([arrived(2)])
    assert time.monotonic() - began < 20
    assert said(caplog, "the connection is cut") == 1
    own_server.thaw()
    await add_until_taken(ledger, arrived(2))
    assert await ids(ledger) == ["fault-1", "fault-2"]


async def test_a_statement_that_waits_for_ever_is_ended(own_server, ledger, arrived):
    """Somebody locks the table, and forgets it."""
    url = ledger._database._url + "?options=-c%20lock_timeout=300"
    impatient = Database(url)
    await impatient.open()
    engine = create_engine(ledger._database._url)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE faults IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DatabaseError, match="lock timeout"):
            await Ledger(impatient, ["log"], "b").add([arrived(1)])
    await impatient.close()
    engine.dispose()


async def test_a_read_only_server_is_said_once_and_all_comes_through_on_repair(
    own_server, ledger, arrived, caplog
):
    await ledger.add([arrived(1)])
    name = ledger._database._url.rpartition("/")[2]
    own_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    own_server.stop()
    own_server.start()
    writing = asyncio.create_task(add_until_taken(ledger, arrived(2)))
    await asyncio.sleep(1)
    # What there may be to do can still be looked for: that is no repair.
    with contextlib.suppress(DatabaseError):
        await ledger.claim(ledger.claimer("none", 5.0), 1)
    assert await ids(ledger) == ["fault-1"]
    own_server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert await writing > 3
    assert await ids(ledger) == ["fault-1", "fault-2"]
    assert said(caplog, "read-only") == 1
    assert said(caplog, "it takes everything again") == 1


@pytest.fixture
async def small(tmp_path):
    """A database file that may not grow beyond a few pages."""
    database = Database(f"sqlite:///{tmp_path}/small.sqlite")
    await database.open()

    def limit(pages):
        def operation(connection):
            used = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {used + pages}"))

        return database.read(operation)

    database.limit = limit
    yield database
    await database.close()


async def test_a_full_database_is_said_once_and_all_comes_through_on_repair(small, arrived, caplog):
    ledger = Ledger(small, ["log"], "controller-1")
    await small.limit(20)
    stored = 0
    with pytest.raises(DatabaseError, match="full"):
        for stored in range(1000):
            await ledger.add([arrived(stored, detail="x" * 3000)])
    writing = asyncio.create_task(add_until_taken(ledger, arrived(5000, detail="x" * 3000)))
    await ledger.claim(ledger.claimer("nobody", 5.0), 1)
    await asyncio.sleep(0.5)
    assert not writing.done()
    assert len(await ids(ledger)) == stored  # it can be read
    await small.limit(20)
    await writing
    assert len(await ids(ledger)) == stored + 1
    assert said(caplog, "disk is full") == 1
    assert said(caplog, "it takes everything again") == 1


async def test_when_it_is_full_the_oldest_cleared_history_makes_room(small, arrived, caplog):
    ledger = Ledger(small, [], "controller-1")  # no sink: nothing is undelivered
    for seq in range(50):
        big = "x" * 3000
        await ledger.add([arrived(seq, detail=big), arrived(seq, detail=big, status="cleared")])
    await small.limit(2)
    upkeep = Upkeep(
        small,
        ledger,
        [],
        keep_cleared_days=30.0,
        max_cleared_faults=1000,
        leads=lambda: True,
        on_forgotten=lambda *_: None,
        on_repeats=lambda: None,
    )
    keeping_up = asyncio.create_task(each_second(upkeep.turn))
    for seq in range(100, 150):
        await add_until_taken(ledger, arrived(seq, detail="x" * 3000))
    keeping_up.cancel()
    assert await ids(ledger) == sorted(f"fault-{seq}" for seq in range(100, 150))
    assert said(caplog, "oldest cleared faults are gone") >= 1


async def test_a_full_disk_under_postgresql(own_server, arrived, caplog):
    """Its tables on a disk of 16 MB, that something else fills."""
    with small_disk(own_server) as disk:
        own_server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        own_server.execute("CREATE DATABASE on_small TEMPLATE template0 TABLESPACE small")
        database = Database(own_server.url("on_small"))
        await database.upgrade()
        await database.open()
        ledger = Ledger(database, ["log"], "controller-1")
        (ballast := disk / "ballast").write_bytes(b"x")
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 65536)
        stored = 0
        with pytest.raises(DatabaseError, match="No space left"):
            for stored in range(1000):
                await ledger.add([arrived(stored, detail="x" * 1500)])
        assert database.full
        writing = asyncio.create_task(add_until_taken(ledger, arrived(5000)))
        await asyncio.sleep(0.5)
        ballast.unlink()
        await writing
        assert len(await ids(ledger)) == stored + 1
        assert said(caplog, "nothing is lost") == 1
        await database.close()
        own_server.execute("DROP DATABASE on_small")
        own_server.execute("DROP TABLESPACE small")


@contextlib.contextmanager
def small_disk(server):
    folder = server.folder / "disk"
    folder.mkdir()
    owner = server.folder.stat()
    options = f"size=16m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
