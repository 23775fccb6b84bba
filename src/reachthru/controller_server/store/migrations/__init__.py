"""Alembic's migrations, shipped with the package and run at every start."""
