"""Client of the liftos-bayes service."""
