"""Models, fits and curves: prepared once, kept and read."""
