"""REST behind tokens and TLS, as a process: what an operator and a stranger see."""

import contextlib
import shutil
import socket
import ssl
import subprocess

import httpx
import pytest

from reachthru.certificates import client_tls

pytestmark = pytest.mark.xdist_group("rest")  # two controllers for all

READER, ADMIN = "a-reader-s-token", "an-admin-s-token"


@pytest.fixture(scope="module")
def names(pki):
    return pki.server("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def locked(start_controller, pki, names, secret_file):
    """Behind tokens and TLS."""
    certificate, key = names
    readers = secret_file("readers", f"# Prometheus\nanother-one\n{READER}\n")
    controller = start_controller(
        f"auth = token\nreader_token_file = {readers}\n"
        f"admin_token_file = {secret_file('admins', ADMIN)}\n"
        f"tls_cert_file = {certificate}\ntls_key_file = {key}\n",
        tls=client_tls(pki.ca, None, None),
    )
    controller.readers = readers
    return controller


@pytest.fixture(scope="module")
def mutual(start_controller, pki, tmp_path_factory):
    """Where who asks must have a certificate. Its files are in `certificates`."""
    folder = tmp_path_factory.mktemp("certificates")
    for file in (*pki.server("127.0.0.1"), pki.ca):
        shutil.copy(file, folder)
    controller = start_controller(
        f"tls_cert_file = {folder}/127.0.0.1.pem\ntls_key_file = {folder}/127.0.0.1.key\n"
        f"tls_client_ca_file = {folder}/ca.pem\n",
        tls=client_tls(pki.ca, *pki.client("operator")),
    )
    controller.certificates = folder
    return controller


@pytest.mark.parametrize("token", [READER, ADMIN, "another-one"])
def test_a_token_of_the_files_lets_in(locked, token):
    assert locked.get("/v1/hosts", token).status_code == 200
    assert locked.get("/v1/hosts", Authorization=f"bearer {token}").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Auth-Token": "wrong"},
        {"X-Auth-Token": READER[:-1]},
        {"X-Auth-Token": "# Prometheus"},
        {"Authorization": f"Basic {READER}"},
        {"Authorization": "Bearer"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/faults", "/v1/events", "/metrics", "/v1/groups/x"])
def test_nobody_else_is(locked, path, headers):
    answer = locked.get(path, **headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert set(answer.json()) == {"error"}


def test_a_path_cant_write_lines_into_the_log(locked):
    locked.get("/v1/groups/%0aeverything-is-fine")
    assert "\neverything-is-fine" not in locked.log()


def test_tokens_change_without_a_restart(locked, wait_until):
    locked.readers.write_text("a-new-token\n")
    wait_until(lambda: locked.get("/v1/hosts", "a-new-token").status_code == 200)
    assert locked.get("/v1/hosts", READER).status_code == 401
    # Who can read it may be anybody by now: nobody is let in, and the log says why.
    locked.readers.chmod(0o644)
    wait_until(lambda: locked.get("/v1/hosts", "a-new-token").status_code == 401)
    assert "is open to every user" in locked.log()
    assert locked.get("/v1/hosts", ADMIN).status_code == 200
    locked.readers.chmod(0o640)
    locked.readers.write_text(f"another-one\n{READER}\n")
    wait_until(lambda: locked.get("/v1/hosts", READER).status_code == 200)


def tls_of(controller, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    door = socket.create_connection(("127.0.0.1", controller.port), 10)
    with context.wrap_socket(door) as tls:
        return tls.version()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(locked):
    assert tls_of(locked, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert tls_of(locked, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls_of(locked, ssl.TLSVersion.TLSv1_1)


def test_who_has_no_certificate_is_not_talked_to(mutual, pki, make_pki):
    assert mutual.get("/v1/hosts").status_code == 200
    stranger = make_pki()
    for tls in (
        client_tls(pki.ca, None, None),
        client_tls(pki.ca, *stranger.client("operator")),
        client_tls(pki.ca, *pki.server("not-a-client")),
    ):
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{mutual.url}/healthz", verify=tls, timeout=20)
    refused = [line for line in mutual.log().splitlines() if "refused a TLS connection" in line]
    assert [line.partition("from ")[2] for line in refused] == [
        "127.0.0.1: peer did not return a certificate",
        "127.0.0.1: certificate verify failed: unable to get local issuer certificate",
        "127.0.0.1: certificate verify failed: unsuitable certificate purpose",
    ]
    assert 'reachthru_api_refusals_total{reason="tls"} 3.0' in mutual.get("/metrics").text


def peer_serial(controller, pki):
    context = client_tls(pki.ca, *pki.client("operator"))
    door = socket.create_connection(("127.0.0.1", controller.port), 10)
    with context.wrap_socket(door, server_hostname="127.0.0.1") as tls:
        return tls.getpeercert()["serialNumber"]


def test_a_renewed_certificate_is_used_without_a_restart(mutual, pki, wait_until):
    before = peer_serial(mutual, pki)
    with httpx.Client(verify=mutual._tls, base_url=mutual.url, timeout=20) as client:
        assert client.get("/healthz").status_code == 200
        certificate, key = pki.server("127.0.0.1")
        # In two steps, as everybody does: between them the two don't fit.
        shutil.copy(certificate, mutual.certificates)
        wait_until(lambda: peer_serial(mutual, pki) and "goes on" in mutual.log())
        assert peer_serial(mutual, pki) == before
        shutil.copy(key, mutual.certificates)
        wait_until(lambda: peer_serial(mutual, pki) != before)
        assert client.get("/healthz").status_code == 200  # on its old connection
    assert mutual.log().count("goes on") == 1


def test_an_authority_that_is_taken_back_lets_nobody_in(mutual, pki, make_pki, wait_until):
    other = make_pki()
    theirs = client_tls(pki.ca, *other.client("operator"))

    def answered(tls):
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{mutual.url}/healthz", verify=tls, timeout=20).status_code == 200

    shutil.copy(other.ca, mutual.certificates / "ca.pem")
    wait_until(lambda: answered(theirs))
    assert not answered(mutual._tls)
    shutil.copy(pki.ca, mutual.certificates / "ca.pem")
    wait_until(lambda: answered(mutual._tls))
    assert not answered(theirs)


def complaint(done):
    code, out, error = done
    assert (code, out) == (1, "")
    (line,) = error.splitlines()
    return line


def test_the_operators_command_comes_in(locked, mutual, pki, reachthru, secret_file):
    token = secret_file("token", READER)
    code, out, _ = reachthru(
        "hosts", "--url", locked.url, "--ca-file", pki.ca, "--token-file", token
    )
    assert (code, out.split("\t")[0]) == (0, "HOST")
    environment = {
        "REACHTHRU_URL": locked.url,
        "REACHTHRU_CA_FILE": pki.ca,
        "REACHTHRU_TOKEN_FILE": token,
    }
    assert reachthru("faults", "--json", **environment)[0] == 0
    certificate, key = pki.client("operator")
    words = ["--ca-file", pki.ca, "--cert-file", certificate, "--key-file", key]
    assert reachthru("hosts", "--url", mutual.url, *words)[0] == 0


def test_the_operators_command_says_what_is_missing(locked, pki, reachthru, secret_file):
    hosts = ["hosts", "--url", locked.url]
    assert "--ca-file" in complaint(reachthru(*hosts))
    ca = ["--ca-file", pki.ca]
    assert "--token-file" in complaint(reachthru(*hosts, *ca))
    wrong = secret_file("token", "wrong-token")
    line = complaint(reachthru(*hosts, *ca, "--token-file", wrong))
    assert "the token is wrong" in line
    assert "wrong-token" not in line
    assert "chmod" in complaint(
        reachthru(*hosts, *ca, "--token-file", secret_file("open", READER, mode=0o644))
    )
    assert "No such file" in complaint(reachthru(*hosts, *ca, "--token-file", "nowhere"))
    assert "nowhere" in complaint(reachthru(*hosts, "--ca-file", "nowhere"))
    plain = locked.url.replace("https", "http")
    assert "https://" in complaint(reachthru("hosts", "--url", plain))


def test_the_operators_command_says_that_a_certificate_is_wanted(mutual, pki, reachthru, make_pki):
    hosts = ["hosts", "--url", mutual.url, "--ca-file", pki.ca]
    assert "--cert-file" in complaint(reachthru(*hosts))
    certificate, key = make_pki().client("stranger")
    words = ["--cert-file", certificate, "--key-file", key]
    assert "of its authority" in complaint(reachthru(*hosts, *words))


def test_a_token_goes_nowhere_else(reachthru, secret_file):
    """A redirect, as of a controller that was taken over, is not followed."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        script = (
            "import socket,sys; s=socket.socket(fileno=int(sys.argv[1])); c,_=s.accept(); "
            "c.recv(9999); c.sendall(b'HTTP/1.1 302 Found\\r\\nLocation: http://127.0.0.1:1/\\r\\n"
            "Content-Length: 0\\r\\n\\r\\n'); c.close()"
        )
        with subprocess.Popen(
            ["python3", "-c", script, str(door.fileno())], pass_fds=[door.fileno()]
        ):
            words = ["--url", url, "--token-file", secret_file("token", READER)]
            assert "302" in complaint(reachthru("hosts", *words))
