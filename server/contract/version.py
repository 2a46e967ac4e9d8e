"""Version of the installed service."""

from importlib.metadata import version

SERVER_VERSION = version("liftos-bayes-server")
"""Version of the distribution; part of every fit and certificate key, since other code may give other numbers."""
