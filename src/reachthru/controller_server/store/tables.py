"""The controller's tables. Migrations make them; a test holds the two together."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    literal_column,
    text,
)

PENDING, DONE, FAILED = "pending", "done", "failed"
SUPPRESSED = "suppressed"  # nobody is told before its maintenance window is over
ONLINE, OFFLINE = "online", "offline"

# SQLite numbers rows by itself in an INTEGER PRIMARY KEY only.
ChangeId = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()


def waits_in_lane(state: ColumnElement[str]) -> ColumnElement[bool]:
    """That it is pending, first in the words of the index of lanes, which no other index has."""
    in_index = state.not_in([literal_column(f"'{DONE}'"), literal_column(f"'{FAILED}'")])
    return and_(in_index, state != literal_column(f"'{SUPPRESSED}'"))


hosts = Table(
    "hosts",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("agent_version", String(64), nullable=False),
    Column("guests", Integer, nullable=False),
    Column("lateness_ms", Float, nullable=False),
    Column("reported_at", String(40), nullable=False),
    Column("said_goodbye", Boolean, nullable=False, server_default=false()),
)

# An instance that migrates is on two hosts for a while, and each host tells of its own side.
instances = Table(
    "instances",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("uuid", String(255), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("state", String(32), nullable=False),
    Column("interval_ms", Integer),
    Column("last_seen_at", String(40)),
    Column("registered", Boolean, nullable=False),
    Column("health", String(32)),
    Column("reported_at", String(40), nullable=False),
    Index("instances_by_uuid", "uuid"),
)

faults = Table(
    "faults",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("instance_uuid", String(255), nullable=False),
    Column("instance_name", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("raised_at", String(40), nullable=False),
    Column("cleared_at", String(40)),
    Column("corrective_action", String(16), nullable=False),
    Column("last_change_id", ChangeId, nullable=False),
    Column("correlated_to", String(255)),  # the loss of its host, which is the cause
    Column("instances", JSON),  # of a host that is lost: those that it carried
    # The window because of which nobody is told; of one that is cleared, nobody ever was.
    Column("maintenance", String(32)),
    Index("faults_by_change", "last_change_id"),
    Index("faults_by_status", "status", "last_change_id"),
    Index("faults_by_instance", "instance_uuid", "last_change_id"),
    Index("faults_by_host", "host", "last_change_id"),
    Index(
        "faults_in_maintenance",
        "maintenance",
        sqlite_where=text("maintenance IS NOT NULL"),
        postgresql_where=text("maintenance IS NOT NULL"),
    ),
)

# One row each time that a fault is raised or cleared. Ids grow in the order of arrival, which is
# the order of delivery.
fault_changes = Table(
    "fault_changes",
    metadata,
    Column("id", ChangeId, primary_key=True, autoincrement=True),
    Column("fault_id", String(255), ForeignKey("faults.id"), nullable=False),
    Column("status", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("stages_ms", JSON, nullable=False),
    Column("stored_ms", Float),
    Column("stored_at", Float),  # by the clock of clock.py
    UniqueConstraint("fault_id", "status", name="fault_changes_once"),
)

# What a sink is told of one change. Pending rows of one lane (an instance) are told one after the
# other: the first of them may be claimed once it is due, by one controller at a time.
deliveries = Table(
    "deliveries",
    metadata,
    Column("change_id", ChangeId, ForeignKey("fault_changes.id"), primary_key=True),
    Column("sink", String(32), primary_key=True),
    Column("lane", String(255), nullable=False, server_default=""),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    # Nobody touches a pending row before this: the next attempt, or the end of a claim.
    Column("due_at", Float, nullable=False, server_default="0"),
    Column("claimed_by", String(255)),
    Column("next_attempt_at", String(40)),  # of those that failed, for people
    Column("last_error", Text),
    Column("done_ms", Float),
    Index(
        "deliveries_due",
        "sink",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "deliveries_lane",
        "sink",
        "lane",
        "change_id",
        sqlite_where=text("state NOT IN ('done', 'failed')"),
        postgresql_where=text("state NOT IN ('done', 'failed')"),
    ),
)

# What one controller at a time may have; `until` in seconds since 1970, see clock.py.
leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("until", Float, nullable=False),
)

# See windows.py; times in seconds since 1970, by the clock of clock.py.
maintenance_windows = Table(
    "maintenance_windows",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("scope", String(16), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("instances", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("started_by", String(255), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", String(255)),
)

# What Nova was asked for because of a fault, by sinks/nova.py; `subject` is an instance's uuid or a
# host, `begun_at` by the clock of clock.py. Its fault takes it along, also where a controller that
# knows nothing of it forgets the fault.
nova_actions = Table(
    "nova_actions",
    metadata,
    Column("fault_id", String(255), ForeignKey("faults.id", ondelete="CASCADE"), primary_key=True),
    Column("action", String(16), primary_key=True),
    Column("subject", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("marker", String(255), nullable=False),
    Column("ours", String(255), nullable=False, server_default=""),
    Column("begun_at", Float, nullable=False),
    Index("nova_actions_by_subject", "subject"),
    Index("nova_actions_by_time", "begun_at"),
)
