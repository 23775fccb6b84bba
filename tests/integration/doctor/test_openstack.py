"""`reachthru doctor` beside a real Keystone: what is wrong with [api] and [nova] it finds."""

import socket

import pytest

from integration.doctor.conftest import examine
from servers.ports import free_port

pytestmark = pytest.mark.xdist_group("keystone")  # one for all


@pytest.fixture
def settings(keystone, tmp_path):
    """settings(api="...", user=..., password=..., **more of [nova]) -> a file of settings."""

    def make(api="", **nova):
        auth = {
            "auth_type": "password",
            "auth_url": keystone.url,
            "cafile": keystone.ca,
            "username": "admin",
            "password": keystone.password,
            "user_domain_id": "default",
            "project_name": "admin",
            "project_domain_id": "default",
            "region_name": "one",
        } | nova
        path = tmp_path / "controller.conf"
        path.write_text(
            f"[api]\nlisten = 127.0.0.1:{free_port()}\n{api}\n"
            f"[bus]\nurl = mqtt://embedded:{free_port()}\n"
            f"[database]\nconnection = sqlite:///{tmp_path}/c.sqlite\n"
            f"[nova]\nnotifications_url = rabbit://guest:guest@127.0.0.1:{free_port()}/\n"
            + "".join(f"{key} = {value}\n" for key, value in auth.items())
        )
        path.chmod(0o600)
        return path

    return make


@pytest.fixture
def compute(keystone):
    """compute(url): it is in the catalogue until the test ends."""
    yield lambda url: keystone.endpoint("compute", url)
    keystone.forget("compute")


def test_novas_user_has_another_password(settings, keystone):
    found = examine("controller", settings(password="of-yesterday"))
    text = found.the_wrong("Nova")
    assert "HTTP 401" in text
    assert "of-yesterday" not in str(found)


def test_novas_user_has_no_role_in_that_project(settings, keystone):
    found = examine("controller", settings(username="tenant"))
    assert "HTTP 401" in found.the_wrong("Nova")


def test_nova_is_not_in_the_catalogue(settings):
    found = examine("controller", settings())
    assert "catalog has no compute in region one" in found.the_wrong("Nova")


def test_nova_is_in_another_region(settings, compute):
    compute("http://127.0.0.1:1/v2.1")
    found = examine("controller", settings(region_name="two"))
    assert "catalog has no compute in region two" in found.the_wrong("Nova")


def test_nobody_is_where_the_catalogue_says(settings, compute):
    url = f"http://127.0.0.1:{free_port()}/v2.1"
    compute(url)
    found = examine("controller", settings())
    assert found.the_wrong("Nova") == f"{url}: connection refused"


def test_what_is_there_is_no_nova(settings, compute, keystone):
    compute(keystone.url)  # a Keystone
    found = examine("controller", settings())
    assert found.the_wrong("Nova").startswith(f"{keystone.url}: ")


def test_keystone_that_vouches_for_those_who_ask_rest(settings, keystone):
    api = f"auth = keystone\nkeystone_ca_file = {keystone.ca}\nkeystone_url = "
    found = examine("controller", settings(api + keystone.url))
    assert [one["text"] for one in found if one["check"] == "Keystone"] == [
        f"{keystone.url} answers: v3.14"
    ]
    base = keystone.url.removesuffix("/v3")
    found = examine("controller", settings(f"{api}{base}/identity"))
    assert "404" in found.the_wrong("Keystone")
    found = examine("controller", settings(f"{api}{base.replace('https', 'http')}"))
    assert found.the_wrong("Keystone")
    found = examine("controller", settings(f"auth = keystone\nkeystone_url = {keystone.url}"))
    assert "certificate" in found.the_wrong("Keystone")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{nobody.getsockname()[1]}/v3"
        found = examine("controller", settings(api + url))
    assert "refused" in found.the_wrong("Keystone")
