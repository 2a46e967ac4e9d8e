"""What messages mean: wire formats, errors and reasons, checks, presets, families."""
