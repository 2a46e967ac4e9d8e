"""Statements as distributions, and what they imply."""
