"""Recommended changes of beliefs."""
