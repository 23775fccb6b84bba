"""Ports that are read before the next tick: of guests that speak to their group just now.

A busy engine looks at its guests each 10 ms, and a broadcast would wait half of that. So a port is
watched anew each time that a message of its guest's was carried: what comes next is read at once.
After that it is read on ticks, like all others, until another one is carried. A guest that does
nothing but heartbeat costs no wake-up here, one that floods only as many as its rate allows.
"""

import asyncio
import select
from collections.abc import Callable

from reachthru.host_agent.channel import Channel

_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class EagerPorts:
    """`on_input` is called with a channel that has something to read, once for each `watch`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_input: Callable[[Channel], None]
    ) -> None:
        self._loop = loop
        self._on_input = on_input
        self._epoll = select.epoll()
        self._channels: dict[int, Channel] = {}  # by file descriptor
        loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def watch(self, channel: Channel) -> None:
        """Until it has something to read."""
        if channel.sock is None:
            return
        descriptor = channel.sock.fileno()
        if descriptor in self._channels:
            self._epoll.modify(descriptor, _ONCE)
        else:
            self._channels[descriptor] = channel
            self._epoll.register(descriptor, _ONCE)

    def forget(self, channel: Channel) -> None:
        """Its socket is about to be closed."""
        descriptor = -1 if channel.sock is None else channel.sock.fileno()
        if descriptor in self._channels:
            del self._channels[descriptor]
            self._epoll.unregister(descriptor)

    def _ready(self) -> None:
        for descriptor, _mask in self._epoll.poll(0):
            channel = self._channels.get(descriptor)
            if channel is not None:
                self._on_input(channel)
