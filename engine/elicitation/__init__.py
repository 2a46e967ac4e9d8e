"""Statements as distributions."""
