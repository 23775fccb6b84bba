"""RabbitMQ's own parts; what it shares with other carriers is in tests/contract."""

import ssl

import pytest
from amqp.exceptions import AccessRefused, MessageNacked, NotAllowed, PreconditionFailed
from kombu.exceptions import OperationalError
from oslo_config import cfg
from oslo_messaging.exceptions import MessageDeliveryFailure

from reachthru.bus import BusDoor, BusUrlError, DoorError, agent_bus, controller_bus
from reachthru.bus.oslo import check_host, reasons
from reachthru.bus.oslo.address import Address
from reachthru.bus.oslo.session import BATCH_LIMIT_BYTES, Outgoing, bundles


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rabbit://broker", "rabbit://broker:5672/"),
        ("rabbit://broker:5673/there", "rabbit://broker:5673/there"),
        ("rabbit://one,two:5673/there", "rabbit://one:5672/there"),
        ("rabbit://[::1]:5673/there?rabbit_quorum_queue=false", "rabbit://[::1]:5673/there"),
    ],
)
def test_a_url_names_brokers(url, shown):
    assert str(Address.parse(url, BusDoor())) == shown


def test_brokers_take_turns():
    address = Address.parse("rabbit://one,two:5673/there", BusDoor())
    seen = []
    for _ in range(3):
        seen.append(str(address))
        address.use_next()
    assert seen == ["rabbit://one:5672/there", "rabbit://two:5673/there", "rabbit://one:5672/there"]


@pytest.mark.parametrize(
    "url", ["rabbit://", "rabbit://broker:many/", "rabbit:///vhost", "rabbit://broker/?nonsense=1"]
)
def test_a_url_that_names_none_is_refused(url):
    with pytest.raises(BusUrlError) as refusal:
        controller_bus(url, "a")
    assert url in str(refusal.value)


def test_a_cluster_s_url_may_have_a_user_which_is_not_shown():
    agent_bus("rabbit://me:secret@broker,me:secret@other/ours", "compute-0")
    with pytest.raises(BusUrlError) as refusal:
        agent_bus("rabbit://me:secret@broker,me:secret@other:many/ours", "compute-0")
    assert "secret" not in str(refusal.value)


def test_tls_that_would_trust_anybody_is_refused():
    with pytest.raises(DoorError, match="ca_file"):
        agent_bus("rabbits://broker/", "compute-0")


def test_the_processs_own_settings_stay_as_they_are():
    Address.parse("rabbit://broker/", BusDoor()).transport()
    assert "oslo_messaging_rabbit" not in cfg.CONF


@pytest.mark.parametrize("host", ["", "a..b", ".a", "#", "a.*", "a.#.b", "x" * 250])
def test_a_host_that_would_break_a_routing_key_is_refused(host):
    with pytest.raises(ValueError, match="host"):
        check_host(host)


@pytest.mark.parametrize("host", ["compute-0", "compute-0.example.org", "up.news.info", "x" * 200])
def test_other_hosts_are_not(host):
    check_host(host)


def test_what_waited_goes_out_together_and_each_keys_order_stays():
    batch = [Outgoing(key, f"{key}{number}", 1) for number in range(3) for key in ("a", "b")]
    made = [(key, [one.payload for one in together]) for key, together in bundles(batch)]
    assert made == [("a", ["a0", "a1", "a2"]), ("b", ["b0", "b1", "b2"])]


def test_what_goes_out_together_is_bounded_in_order():
    half = "x" * (BATCH_LIMIT_BYTES // 2)
    batch = [Outgoing("a", f"{number}{half}", 1) for number in range(5)]
    made = [[one.payload[0] for one in together] for _key, together in bundles(batch)]
    assert made == [["0"], ["1"], ["2"], ["3"], ["4"]]


def wrapped(error):
    """As oslo.messaging and kombu hand it on."""
    try:
        try:
            raise error
        except type(error) as inner:
            raise OperationalError(str(inner)) from inner
    except OperationalError:
        try:
            raise MessageDeliveryFailure("Unable to connect to AMQP server after 0 tries: ...")
        except MessageDeliveryFailure as outer:
            return outer


@pytest.mark.parametrize(
    ("error", "words", "refusal"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused", False),
        (TimeoutError("timed out"), "does not answer", False),
        (AccessRefused("ACCESS_REFUSED - Login was refused using PLAIN"), "bad user name", True),
        (AccessRefused("ACCESS_REFUSED - access to topic 'x' refused"), "authorised: access", True),
        (NotAllowed("NOT_ALLOWED - vhost x not found"), "authorised: vhost x not found", True),
        (PreconditionFailed("PRECONDITION_FAILED - inequivalent arg"), "inequivalent arg", False),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]"), "wants a certificate", True),
    ],
)
def test_reasons_are_one_line_that_says_what_to_do(error, words, refusal):
    said = reasons.of_error(wrapped(error))
    assert words in said
    assert "\n" not in said
    assert reasons.is_refusal(said) is refusal


def test_a_refusal_of_one_message_is_told_from_a_lost_connection():
    assert reasons.is_of_the_message(wrapped(AccessRefused("ACCESS_REFUSED - access to topic")))
    assert reasons.is_of_the_message(wrapped(MessageNacked()))
    assert not reasons.is_of_the_message(wrapped(ConnectionResetError(104, "reset")))
    assert not reasons.is_of_the_message(wrapped(NotAllowed("NOT_ALLOWED - vhost x not found")))
