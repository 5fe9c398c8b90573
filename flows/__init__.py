"""Prefect flows: each reads like a table of contents, and the work is in `adodn`."""
