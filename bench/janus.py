"""Placeholder until the comparison works."""

default = tuned = None
