"""Game Pipeline Service: durable pipelines on a fleet of game nodes."""

__version__ = "0.1.0"
