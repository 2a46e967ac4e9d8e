"""Prior-data conflict: evidence curves, Bayes factors, divergences, p-values and severity."""
