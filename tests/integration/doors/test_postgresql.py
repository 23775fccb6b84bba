"""PostgreSQL over TLS, with passwords from files and with certificates in their place."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import text

from reachthru.controller_server import settings
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.service import SettingsError
from servers.postgresql import PostgresqlServer

pytestmark = pytest.mark.xdist_group("postgresql-tls")  # one server for all

PASSWORD = "p@ss:w/rd?%#"


@pytest.fixture(scope="module")
def folder():
    """The server's own: pytest's folders are for their user alone."""
    path = Path(tempfile.mkdtemp(prefix="reachthru-pg-tls-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server(pki, folder):
    """Takes TLS only: `locked` with a password, `certified` with a certificate."""
    for file, name in zip((*pki.server("localhost"), pki.ca), ("cert", "key", "ca"), strict=True):
        shutil.copy(file, folder / name)
    (folder / "hba").write_text(
        "host all postgres 127.0.0.1/32 trust\n"
        "hostssl all locked 127.0.0.1/32 scram-sha-256\n"
        "hostssl all certified 127.0.0.1/32 cert\n"
    )
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    with PostgresqlServer(
        "ssl = on",
        f"ssl_cert_file = '{folder}/cert'",
        f"ssl_key_file = '{folder}/key'",
        f"ssl_ca_file = '{folder}/ca'",
        f"hba_file = '{folder}/hba'",
    ) as server:
        quoted = PASSWORD.replace("'", "''")
        server.execute(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{quoted}'")
        server.execute("CREATE ROLE certified LOGIN SUPERUSER")
        yield server


@pytest.fixture
def address(server):
    """address(user, query) -> a URL of a fresh database, as that user."""

    def make(user, query=""):
        name = server.make_database().rpartition("/")[2]
        return f"postgresql+psycopg://{user}@localhost:{server.port}/{name}?{query}"

    return make


WHO = text("SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


async def opens(url):
    """(whose connection it is, whether it is encrypted). Raises `DatabaseError`."""
    database = Database(url)
    try:
        await database.upgrade()
        await database.ping()
        return await database.read(lambda c: tuple(c.execute(WHO).one()))
    finally:
        await database.close()


def with_password_file(folder, url, secret):
    path = folder / "controller.conf"
    path.write_text(f"[database]\nconnection = {url}\npassword_file = {secret}\n")
    return settings.load(path).database_url


async def test_a_password_from_a_file_over_verified_tls(address, pki, secret_file, tmp_path):
    url = address("locked", f"sslmode=verify-full&sslrootcert={pki.ca}")
    url = with_password_file(tmp_path, url, secret_file("password", f"{PASSWORD}\n"))
    assert await opens(url) == ("locked", True)


async def test_a_certificate_in_place_of_a_password(address, pki):
    certificate, key = pki.client("certified")
    url = address(
        "certified",
        f"sslmode=verify-full&sslrootcert={pki.ca}&sslcert={certificate}&sslkey={key}",
    )
    assert await opens(url) == ("certified", True)


async def test_another_ones_certificate_is_refused(address, pki, make_pki):
    for certificate, key in (pki.client("somebody"), make_pki().client("certified")):
        url = address(
            "certified",
            f"sslmode=verify-full&sslrootcert={pki.ca}&sslcert={certificate}&sslkey={key}",
        )
        with pytest.raises(DatabaseError, match=r"certificate|SSL"):
            await opens(url)


async def test_a_server_that_nobody_vouches_for_is_not_told_the_password(
    address, make_pki, secret_file, tmp_path
):
    url = address("locked", f"sslmode=verify-full&sslrootcert={make_pki().ca}")
    with pytest.raises(DatabaseError, match="certificate verify failed") as refusal:
        await opens(with_password_file(tmp_path, url, secret_file("password", PASSWORD)))
    assert "p@ss" not in str(refusal.value) and "p%40ss" not in str(refusal.value)


async def test_without_tls_nobody_comes_in(address, secret_file, tmp_path):
    url = address("locked", "sslmode=disable")
    with pytest.raises(DatabaseError, match="no encryption"):
        await opens(with_password_file(tmp_path, url, secret_file("password", PASSWORD)))


async def test_a_wrong_password_is_not_repeated(address, pki, secret_file, tmp_path):
    url = address("locked", f"sslmode=verify-full&sslrootcert={pki.ca}")
    with pytest.raises(DatabaseError, match="password authentication failed") as refusal:
        await opens(with_password_file(tmp_path, url, secret_file("password", "hunter2")))
    assert "hunter2" not in str(refusal.value)


def test_a_password_has_one_place(secret_file, tmp_path):
    with pytest.raises(SettingsError, match="already") as refusal:
        with_password_file(
            tmp_path, "postgresql+psycopg://u:hunter2@h/d", secret_file("password", PASSWORD)
        )
    assert "hunter2" not in str(refusal.value)
