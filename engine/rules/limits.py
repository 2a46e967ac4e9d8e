"""Limits by which figures are judged, shared by the engine and the sentences about them."""

from __future__ import annotations

SILENT_CONTRACTION = 0.2
