"""Numerics of liftos-bayes: models, batched inference, conflict analysis and simulation-based calibration."""
