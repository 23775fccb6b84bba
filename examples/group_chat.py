#!/usr/bin/env python3
"""A chat among the VMs of one Nova server group, with no network at all.

Each line of standard input is broadcast to the group's other VMs; what they say, and how they
fare, is printed. While it runs, the chat is part of this VM's health: should it hang or crash,
the host hears that the VM is unhealthy.

    python3 group_chat.py [SOCKET]
"""

import asyncio
import sys

from reachthru.guest_daemon.client import (
    AsyncClient,
    Broadcast,
    DoorError,
    Dropped,
    Notification,
    Refused,
)

BEAT_INTERVAL_MS = 1000


async def beat(client: AsyncClient) -> None:
    while True:
        await client.beat()
        await asyncio.sleep(BEAT_INTERVAL_MS / 2000)


async def hear(client: AsyncClient) -> None:
    async for event in client.events():
        match event:
            case Broadcast(source_instance=who, data=text):
                print(f"{who}: {text!r}", flush=True)
            case Notification(status=status):
                print(f"* {status.get('display_name')} is {status.get('state')}", flush=True)
            case Refused(log_msg=reason):
                print(f"* not delivered: {reason}", flush=True)
            case Dropped(count=count):
                print(f"* {count} messages missed", flush=True)


async def speak(client: AsyncClient) -> None:
    """Ends with standard input."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        try:
            await client.broadcast(line.decode(errors="replace").rstrip("\n"))
        except DoorError as error:
            print(f"* {error}", flush=True)


async def chat(path: str) -> None:
    async with AsyncClient(path) as client:
        await client.listen()
        members = await client.members()
        names = ", ".join(str(member.get("display_name")) for member in members.all)
        print(f"* here: {names}", flush=True)
        await client.register("group-chat", BEAT_INTERVAL_MS)
        helpers = [asyncio.create_task(beat(client)), asyncio.create_task(hear(client))]
        speaking = asyncio.create_task(speak(client))
        done, _pending = await asyncio.wait(
            [speaking, *helpers], return_when=asyncio.FIRST_COMPLETED
        )
        for task in (speaking, *helpers):
            task.cancel()
        for task in done:
            task.result()  # a daemon that has gone is told here
        await client.leave()


if __name__ == "__main__":
    try:
        asyncio.run(chat(sys.argv[1] if len(sys.argv) > 1 else "/run/reachthru/guest.sock"))
    except DoorError as error:
        sys.exit(f"group_chat: {error}")
    except KeyboardInterrupt:
        pass
