"""The REST API's HTTP server, as a part of the process."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from litestar import Litestar

GRACE_S = 1  # for answers that are on their way at a stop


class RestServer:
    """`run` until `stop`."""

    def __init__(self, app: Litestar, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = _Server(config)
        self._listener = listener

    async def run(self) -> None:
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """The process has its signals for itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
