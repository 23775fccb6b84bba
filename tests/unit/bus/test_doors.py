"""`[bus]`'s locks: what does not fit is said in one line, and what is secret never."""

import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from reachthru.bus import BusDoor, DoorError, agent_bus, controller_bus


@pytest.fixture
def files(tmp_path):
    authority = trustme.CA()
    leaf = authority.issue_cert("compute-0")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    trustme.CA().private_key_pem.write_to_path(str(tmp_path / "other.key"))
    (tmp_path / "password").write_text("hush-hush\r\nsecond line\n")
    (tmp_path / "empty").write_text("\nhush-hush\n")
    (tmp_path / "rubbish").write_bytes(b"\xff\xfe hush-hush")
    return tmp_path


def refusal(door, tls=True):
    with pytest.raises(DoorError) as refused:
        door.check(tls=tls)
    text = str(refused.value)
    assert "\n" not in text
    assert "hush-hush" not in text
    return text


def test_certificate_and_key_are_taken_from_their_files(files):
    door = BusDoor(
        ca_file=files / "ca.pem", cert_file=files / "cert.pem", key_file=files / "key.pem"
    )
    door.check(tls=True)
    context = door.tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_password_is_the_first_line_as_it_is_now(files):
    door = BusDoor(username="me", password_file=files / "password")
    door.check(tls=False)
    assert door.password() == "hush-hush"
    (files / "password").write_text("changed")
    assert door.password() == "changed"
    assert BusDoor().password() is None


def test_what_does_not_go_together_is_refused(files):
    cert, key = files / "cert.pem", files / "key.pem"
    assert "mqtts://" in refusal(BusDoor(ca_file=files / "ca.pem"), tls=False)
    assert "cert_file is not" in refusal(BusDoor(key_file=key))
    assert "username and password_file" in refusal(BusDoor(username="me"))
    assert "username and password_file" in refusal(BusDoor(password_file=files / "password"))
    mismatch = refusal(BusDoor(cert_file=cert, key_file=files / "other.key"))
    assert str(cert) in mismatch
    assert "key values mismatch" in mismatch


def test_files_that_are_missing_or_wrong_are_named(files):
    nowhere, rubbish = files / "nowhere", files / "rubbish"
    for door, words in (
        (BusDoor(ca_file=nowhere), ["ca_file", "nowhere", "No such file"]),
        (BusDoor(ca_file=rubbish), ["ca_file", "rubbish"]),
        (BusDoor(cert_file=nowhere), ["cert_file", "nowhere", "No such file"]),
        (BusDoor(cert_file=rubbish), ["cert_file", "rubbish"]),
        (BusDoor(cert_file=files / "cert.pem"), ["cert_file", "key_file"]),  # and no key in it
        (BusDoor(username="me", password_file=nowhere), ["password_file", "nowhere"]),
        (BusDoor(username="me", password_file=files / "empty"), ["password_file", "empty"]),
        (BusDoor(username="me", password_file=rubbish), ["password_file", "rubbish"]),
    ):
        text = refusal(door)
        assert all(word in text for word in words), text


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(files):
    locked = files / "locked.key"
    key = serialization.load_pem_private_key((files / "key.pem").read_bytes(), password=None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    door = BusDoor(cert_file=files / "cert.pem", key_file=locked)
    assert "locked.key" in refusal(door)


async def test_a_bus_is_not_made_of_a_door_that_does_not_work(files):
    door = BusDoor(ca_file=files / "nowhere")
    with pytest.raises(DoorError):
        agent_bus("mqtts://127.0.0.1", "compute-0", door)
    with pytest.raises(DoorError):
        controller_bus("mqtts://127.0.0.1", "a", door)
