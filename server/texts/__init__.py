"""Sentences about stored figures, for people."""
