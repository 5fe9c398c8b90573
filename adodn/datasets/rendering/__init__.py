"""Draws one face at a time from random numbers. Knows nothing of datasets, splits or files."""
