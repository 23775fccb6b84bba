"""The daemon in the VM: registers with the host, answers its challenges with the VM's health.

It runs in every VM of a cloud, so it is small: the standard library, `protocol` and msgspec; one
`poll` loop; no asyncio, no logging, no subprocess. A module that only some subcommands or ports
need is imported by whoever needs it, when it is needed.

::

    cli --> shell --> loop      one poll(2), one timer
              +-----> port      transport, base layer, heartbeat core, server-group relay
              +-----> health    checks, run beside the heartbeat
              +-----> door      applications of this VM (UNIX stream socket, JSON lines)
              +-----> group     the server group's messages, and the field's datagram door
    client                      what an application imports into its own process
"""
