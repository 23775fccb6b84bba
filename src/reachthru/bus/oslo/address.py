"""`[bus] url = rabbit://...`, with its locks, as what oslo.messaging connects with."""

from typing import Any

from oslo_config import cfg

from reachthru.bus import BusUrlError
from reachthru.bus.doors import BusDoor, DoorError
from reachthru.bus.oslo.library import configuration, oslo_messaging

SCHEMES = ("rabbit", "rabbits")
PORT, TLS_PORT = 5672, 5671
# In seconds; a socket that is silent for so long is given up, and RabbitMQ gives us up after two.
HEARTBEAT_S = 4


class Address:
    """The brokers of one cluster, one of them in use at a time.

    oslo.messaging is told of one only: with several it would not check whose certificate it sees.
    `durable` are the exchange and the queues; others who declare them must say the same.
    """

    def __init__(
        self, parsed: Any, door: BusDoor, *, tls: bool, exchange: str, durable: bool
    ) -> None:
        self._parsed = parsed
        self._door = door
        self.tls = tls
        self._exchange = exchange
        self._durable = durable
        self._current = 0

    @classmethod
    def parse(
        cls, url: str, door: BusDoor, *, exchange: str = "amq.topic", durable: bool = True
    ) -> "Address":
        """Raises `BusUrlError`, `DoorError`."""
        try:
            parsed = oslo_messaging.TransportURL.parse(cfg.ConfigOpts(), url)
        except (ValueError, oslo_messaging.InvalidTransportURL) as error:
            raise BusUrlError(url) from error
        if (
            parsed.transport not in SCHEMES
            or not parsed.hosts
            or not all(host.hostname for host in parsed.hosts)
        ):
            raise BusUrlError(url)
        tls = parsed.transport == "rabbits"
        address = cls(parsed, door, tls=tls, exchange=exchange, durable=durable)
        address._check(url)
        return address

    @property
    def brokers(self) -> list[tuple[str, int]]:
        """(name, port) of each."""
        usual = TLS_PORT if self.tls else PORT
        return [(host.hostname, host.port or usual) for host in self._parsed.hosts]

    @property
    def virtual_host(self) -> str:
        return self._parsed.virtual_host or "/"

    def use_next(self) -> None:
        """The broker in use is away: the next one, after the last the first."""
        self._current = (self._current + 1) % len(self._parsed.hosts)

    def transport(self, replicated: bool = False) -> Any:
        """oslo.messaging's, not connected yet. Files are read anew. Raises `DoorError`.

        `replicated`: it makes quorum queues.
        """
        host = self._parsed.hosts[self._current]
        port = host.port or (TLS_PORT if self.tls else PORT)
        url = oslo_messaging.TransportURL(
            cfg.ConfigOpts(),
            transport="rabbit",
            virtual_host=self._parsed.virtual_host,
            hosts=[
                oslo_messaging.TransportHost(
                    host.hostname, port, self._door.username, self._door.password()
                )
            ],
            query=self._parsed.query,
        )
        return oslo_messaging.get_notification_transport(
            configuration(self._exchange, **self._options(replicated)), url=url
        )

    def __str__(self) -> str:
        host = self._parsed.hosts[self._current]
        port = host.port or (TLS_PORT if self.tls else PORT)
        name = f"[{host.hostname}]" if ":" in host.hostname else host.hostname
        return f"{self._parsed.transport}://{name}:{port}/{self._parsed.virtual_host or ''}"

    def _options(self, replicated: bool) -> dict[str, object]:
        options: dict[str, object] = {
            "rabbit_quorum_queue": replicated,
            "amqp_durable_queues": self._durable,
            "heartbeat_timeout_threshold": HEARTBEAT_S,
            # A listener that lost its connection alone is soon back.
            "rabbit_interval_max": 2,
            # Bounded: what waits, waits in RabbitMQ.
            "rabbit_qos_prefetch_count": 100,
        }
        if self.tls:
            cert_file = self._door.cert_file
            options |= {"ssl": True, "ssl_ca_file": str(self._door.ca_file)}
            if cert_file is not None:
                options["ssl_cert_file"] = str(cert_file)
                options["ssl_key_file"] = str(self._door.key_file or cert_file)
                if self._door.username is None:
                    options["rabbit_login_method"] = "EXTERNAL"  # the certificate says who
        return options

    def _check(self, url: str) -> None:
        self._door.check(tls=self.tls)
        if self.tls and self._door.ca_file is None:
            raise DoorError("ca_file is not set: oslo.messaging would trust any broker")
        try:
            self.transport()
        except (cfg.NoSuchOptError, ValueError) as error:
            raise BusUrlError(url, f"after the '?': {error}") from error
