"""Distributions closed under their operations."""
