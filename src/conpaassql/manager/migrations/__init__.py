"""Revisions of the store's schema, run by Alembic when the manager starts."""
