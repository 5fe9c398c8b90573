"""Tests that break things on purpose; `make chaos` runs them, one at a time, for they take whole machines down."""
