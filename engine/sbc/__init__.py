"""Simulation-based calibration: ranks, exact uniformity tests, verdict, and the decision when it is essential."""
