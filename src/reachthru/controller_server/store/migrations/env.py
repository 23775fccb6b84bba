"""Alembic runs this file; `Database` gives it a connection."""

from alembic import context

from reachthru.controller_server.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite can't alter most things in place
)
with context.begin_transaction():
    context.run_migrations()
