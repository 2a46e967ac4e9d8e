"""Limits by which figures are judged, shared by the engine and the sentences about them."""

from __future__ import annotations

SILENT_CONTRACTION = 0.2
"""Share of the prior's variance that the data have to take away, or they are called silent about a quantity."""
