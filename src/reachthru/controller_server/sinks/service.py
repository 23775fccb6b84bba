"""What sinks share whose receiver is a service of OpenStack's."""

from pathlib import Path
from typing import ClassVar, Self

from oslo_config import cfg

from reachthru.certificates import CertificateError
from reachthru.controller_server import keystone_session
from reachthru.controller_server.sinks.base import Sink
from reachthru.controller_server.sinks.http import ServiceClient
from reachthru.service import SettingsError


class ServiceSink(Sink):
    """Its section holds `service_options()`, keystoneauth's, and `reconcile_interval` (0: never).

    `service_type` is its receiver's in Keystone's catalog. Raises `CertificateError`.
    """

    service_type: ClassVar[str]

    @classmethod
    def configured(cls, path: Path, conf: cfg.ConfigOpts) -> Self:
        cls._check(path, conf)
        try:
            return cls(conf)
        except CertificateError as error:
            raise SettingsError(f"{path}: [sink_{cls.name}] {error}") from error

    @classmethod
    def _check(cls, path: Path, conf: cfg.ConfigOpts) -> None:
        """Raises `SettingsError`."""
        section = f"sink_{cls.name}"
        keystone_session.check(
            path,
            conf,
            section,
            because=f"since [sinks] enabled has {cls.name}",
            timeout_s=conf[section].timeout,
        )

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        section = f"sink_{self.name}"
        self._service = ServiceClient(conf, section, self.service_type)
        self.timeout_s = self._service.timeout_s
        self.reconcile_s = conf[section].reconcile_interval or None

    async def __aenter__(self) -> Self:
        await self._service.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._service.__aexit__(*error)
