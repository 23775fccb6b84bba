"""The REST API behind its locks: TLS, tokens, and uvicorn as a part of a process."""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Iterator

import uvicorn

from reachthru.controller_server.api_settings import ApiSettings
from reachthru.controller_server.rest.app import rest_app
from reachthru.controller_server.rest.door import Check, Door, Guarded, Role
from reachthru.controller_server.rest.keystone import Keystone
from reachthru.controller_server.rest.local_door import LocalDoor
from reachthru.controller_server.rest.refusals import Refusals
from reachthru.controller_server.rest.static_tokens import StaticTokens
from reachthru.controller_server.rest.tls import ServerTls
from reachthru.controller_server.state import ControllerState

REST_GRACE_S = 1  # for answers that are on their way at a stop

_log = logging.getLogger(__name__)


class _RestServer(uvicorn.Server):
    """uvicorn without its signal handlers: the process has the signals for itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def rest_server(api: ApiSettings, state: ControllerState) -> AsyncIterator[uvicorn.Server]:
    """Not serving yet. Raises `CertificateError`."""
    async with contextlib.AsyncExitStack() as stack:
        refusals = Refusals(state.metrics)
        door = await _door(stack, api, refusals)
        tls = _tls(api, refusals)
        if tls is None and not api.loopback:
            _log.warning(
                "REST: tokens cross the network in the clear: no [api] tls_cert_file; "
                "is there a proxy with TLS in front?"
            )

        def context(_config: object, _default: object) -> ssl.SSLContext:
            assert tls is not None
            return tls

        config = uvicorn.Config(
            rest_app(state, door),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=REST_GRACE_S,
            ssl_context_factory=context if tls is not None else None,
        )
        yield _RestServer(config)


def _tls(api: ApiSettings, refusals: Refusals) -> ssl.SSLContext | None:
    if api.tls is None:
        return None

    def refused(peer: str, why: str) -> None:
        refusals.add("tls", "a TLS connection", peer, why)

    return ServerTls(api.tls, refused).context


async def _door(stack: contextlib.AsyncExitStack, api: ApiSettings, refusals: Refusals) -> Guarded:
    if not api.locked:
        return LocalDoor(api.allowed_hosts, refusals)
    checks: list[Check] = []
    files = {Role.READER: api.reader_tokens, Role.ADMIN: api.admin_tokens}
    given = {role: file for role, file in files.items() if file is not None}
    if given:
        checks.append(StaticTokens(given))
    if api.keystone is not None:
        checks.append(await stack.enter_async_context(Keystone(api.keystone)))
    return Door(checks, refusals)
