"""A way between two parts, that tests can cut."""

import asyncio
import contextlib

from servers.ports import free_port


class Proxy:
    """A TCP door to a port, that can be cut and opened again, or held: nothing goes through."""

    def __init__(self, port):
        self._port = port
        self._server = None
        self._streams = set()
        self._goes = asyncio.Event()
        self._goes.set()
        self.port = free_port()

    async def open(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self):
        self._server.close()
        for writer in self._streams:
            writer.transport.abort()
        self._streams.clear()
        await asyncio.sleep(0)

    def hold(self):
        """Connections stay open, new ones too, and nothing is heard of the other side."""
        self._goes.clear()

    def release(self):
        self._goes.set()

    async def _serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        self._streams |= {writer, far_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self._goes.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
