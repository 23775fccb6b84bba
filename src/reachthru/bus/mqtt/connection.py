"""One end's way to the broker: kept, lost, kept again."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from reachthru.bus.base import AgentBus, BusRefusedError, BusUnavailableError
from reachthru.bus.doors import BusDoor, DoorError
from reachthru.bus.inbox import PAYLOAD_LIMIT_BYTES
from reachthru.bus.mqtt import reasons
from reachthru.bus.mqtt.client import Client, VersionRefusedError
from reachthru.bus.mqtt.terms import V5, V311, Address, Terms
from reachthru.protocol.agent_bus import BusMessage, encode

CONFIRM_TIMEOUT_S = 3.0
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
CANCEL_AGAIN_S = 0.1
STABLE_S = 5.0  # a connection that lasted so long is not part of a quarrel
RIVALRY = 4  # brief connections in a row that are no accident
# What the broker refused is not asked of it again for so long.
REFUSAL_HOLD_S = 5.0
COMPLAINTS_LIMIT = 20
# Around a payload: the fixed header, the topic's length, the packet identifier, properties.
OVERHEAD_BYTES = 16

_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


class Connection:
    """`receive` gets (topic, payload); `refused` counts what was not carried, by reason."""

    def __init__(
        self,
        url: str,
        door: BusDoor,
        terms: Terms,
        receive: Callable[[str, bytes], None],
        refused: Counter[str],
    ) -> None:
        self._address = Address.parse(url)
        door.check(tls=self._address.tls)
        self._door = door
        self._terms = terms
        self._receive = receive
        self._refused = refused
        self._on_connection: Callable[[bool], None] = AgentBus.on_connection
        self._client: Client | None = None
        self._has_served = False  # the latest connection was a good one
        self._keeper: asyncio.Task[None] | None = None
        self._unreachable_since: float | None = None  # None: connected, or not tried yet
        self._said: set[str] = set()  # since the last connection
        self._held: dict[str, tuple[float, str]] = {}  # refused topics: until when, and why

    @property
    def connected(self) -> bool:
        return self._client is not None

    def open(self, on_connection: Callable[[bool], None]) -> None:
        self._on_connection = on_connection
        self._keeper = asyncio.create_task(self._keep(), name=f"mqtt {self._terms.identifier}")

    async def close(self) -> None:
        if self._keeper is None:
            return
        if self._client is not None:
            self._client.end_session()
        # Again, since Python 3.11's wait_for swallows a cancellation that comes with its result.
        while not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait((self._keeper,), timeout=CANCEL_AGAIN_S)

    async def publish(self, topic: str, message: BusMessage) -> None:
        """Returns when the broker has it.

        Raises `BusUnavailableError` after a few seconds, `BusRefusedError`.
        """
        client = self._client
        if client is None:
            raise BusUnavailableError(f"{self._address}: not connected")
        payload = encode(message)
        self._refuse_again(topic)
        if not self._fits(client, topic, payload):
            raise BusRefusedError(f"{self._address}: a message is too long")
        async with client.slots:
            if client is not self._client:
                raise BusUnavailableError(f"{self._address}: {reasons.BROKE}")
            try:
                async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                    code = await client.confirmed(topic, payload)
            except TimeoutError as error:
                # Whoever else waits need not find out one by one.
                client.fail(f"no confirmation within {CONFIRM_TIMEOUT_S:g} s")
                raise BusUnavailableError(f"{self._address}: {client.lost.result()}") from error
            except aiomqtt.MqttError as error:
                raise BusUnavailableError(f"{self._address}: {error}") from error
        if code.is_failure:
            raise self._hold(topic, code)
        if self._held.pop(topic, None):
            _log.warning("%s: %s: the broker takes our messages again", self._address, topic)

    def offer(self, topic: str, message: BusMessage) -> bool:
        client = self._client
        if client is None:
            return False
        payload = encode(message)
        return self._fits(client, topic, payload) and client.offer(topic, payload)

    # --- Refusals ----------------------------------------------------------------------------

    def _fits(self, client: Client, topic: str, payload: bytes) -> bool:
        """A broker ends the connection over a message that is too long, again and again."""
        packet_bytes = len(payload) + len(topic.encode()) + OVERHEAD_BYTES
        if len(payload) <= PAYLOAD_LIMIT_BYTES and packet_bytes <= client.packet_limit_bytes:
            return True
        self._refused["too_long"] += 1
        if self._may_say(f"{topic}: too long"):
            size, limit = len(payload), client.packet_limit_bytes
            _log.error(
                "%s: %s: a message of %d bytes is too long (the limit is %d), and is not sent",
                self._address,
                topic,
                size,
                min(limit, PAYLOAD_LIMIT_BYTES),
            )
        return False

    def _refuse_again(self, topic: str) -> None:
        until, why = self._held.get(topic, (0.0, ""))
        if time.monotonic() < until:
            raise BusRefusedError(f"{self._address}: {topic}: {why}")

    def _hold(self, topic: str, code: ReasonCode) -> BusRefusedError:
        why = reasons.of_code(code)
        reason = "not_authorised" if code.value == reasons.NOT_AUTHORISED else "broker_refused"
        self._refused[reason] += 1
        if topic not in self._held and len(self._held) < COMPLAINTS_LIMIT:
            _log.error(
                "%s: the broker refuses what is published on %s: %s; asking it again each %g s",
                self._address,
                topic,
                why,
                REFUSAL_HOLD_S,
            )
        self._held[topic] = (time.monotonic() + REFUSAL_HOLD_S, why)
        return BusRefusedError(f"{self._address}: {topic}: {why}")

    # --- Connections -------------------------------------------------------------------------

    async def _keep(self) -> None:
        backoff_s = BACKOFF_MIN_S
        brief = 0  # connections in a row that soon broke
        version = V5
        while True:
            tried_at = time.monotonic()
            self._has_served = False
            try:
                client = Client(self._address, self._door, self._terms, version, self._receive)
                async with client:
                    await self._serve(client)
            except VersionRefusedError as error:
                if version is V5:
                    version = V311
                    continue
                self._say_unreachable(reasons.of_error(error))
            except DoorError as error:
                self._say_unreachable(f"[bus] {error}")
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                self._say_unreachable(reasons.of_error(error))
            version = V5
            if time.monotonic() - tried_at > STABLE_S:
                backoff_s, brief = BACKOFF_MIN_S, 0
            elif self._has_served:
                brief += 1
                self._say_rivalry(brief)
            await asyncio.sleep(backoff_s * _chance.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _serve(self, client: Client) -> None:
        """Until the connection breaks, which raises `MqttError`."""
        self._say_reachable(client)
        self._client = client
        self._has_served = True
        self._on_connection(True)
        try:
            raise aiomqtt.MqttError(await client.lost)
        finally:
            self._client = None
            client.fail(reasons.BROKE)
            self._on_connection(False)

    def _say_reachable(self, client: Client) -> None:
        version = "MQTT 5" if client.version is V5 else "MQTT 3.1.1"
        if self._unreachable_since is None:
            _log.info("%s: connected, %s", self._address, version)
        else:
            away_s = time.monotonic() - self._unreachable_since
            _log.warning("%s: the broker is back after %.1f s", self._address, away_s)
        self._unreachable_since = None
        self._said.clear()
        if self._terms.shared_topics and not client.can_share:
            _log.info("%s: it can't share work: run no second controller", self._address)

    def _say_unreachable(self, why: str) -> None:
        if self._unreachable_since is None:
            self._unreachable_since = time.monotonic()
        # Nobody there is said once; a refusal each time that its reason changes.
        if self._may_say(why if reasons.is_refusal(why) else "no broker"):
            _log.warning("%s: no broker: %s; trying again until there is", self._address, why)

    def _say_rivalry(self, brief: int) -> None:
        """A broker that knows two clients by one name ends one for the other, without a word."""
        if brief == RIVALRY:
            _log.error(
                "%s: each connection ends soon after it began: is there another client called %s?",
                self._address,
                self._terms.identifier,
            )

    def _may_say(self, what: str) -> bool:
        """Once for each time that the broker is here, or is away."""
        if what in self._said or len(self._said) >= COMPLAINTS_LIMIT:
            return False
        self._said.add(what)
        return True
