"""Batched samplers and their diagnostics."""
