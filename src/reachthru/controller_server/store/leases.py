"""What one controller at a time may have. Functions of a connection, for the database's thread."""

from sqlalchemy import Connection, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.tables import leases


def take(connection: Connection, name: str, owner: str, ttl_s: float) -> bool:
    """Takes, or renews, the lease `name` for `ttl_s` seconds. False: another owner has it.

    A lease that ends far further ahead than `ttl_s` is over as well: the clock was set back.
    """
    now = now_s(connection)
    # Twice: another one's `now` may be later than ours, and its transaction ahead of ours.
    latest = now + 2 * ttl_s
    held = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
    if held is not None and held.owner != owner and now < held.until <= latest:
        return False  # without a lock: its owner's renewal must not wait for those who only ask
    put = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = put(leases).values(name=name, owner=owner, until=now + ttl_s)
    taken = connection.execute(
        statement.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"owner": owner, "until": now + ttl_s},
            where=or_(
                leases.c.owner == owner,
                leases.c.until <= now,
                leases.c.until > latest,
            ),
        ).returning(leases.c.owner)
    )
    return taken.one_or_none() is not None


def give_back(connection: Connection, name: str, owner: str) -> None:
    """The next one need not wait for the lease's end. Another owner's lease stays."""
    connection.execute(delete(leases).where(leases.c.name == name, leases.c.owner == owner))
