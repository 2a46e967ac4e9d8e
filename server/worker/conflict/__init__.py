"""Beliefs against data."""
