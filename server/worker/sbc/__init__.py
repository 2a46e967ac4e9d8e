"""Calibration runs and the decision whether one is needed."""
