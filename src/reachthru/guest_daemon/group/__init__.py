"""Server-group messages between this VM's applications and the host.

::

    ops        our own door's broadcast, members, listen --+
                                                            +--> relay --> port
    datagrams  the field's door: UNIX datagram sockets ----+      +----> queries
"""
