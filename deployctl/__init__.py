"""Push to deploy for people with their own machines: no daemon, one command, health-checked."""

__version__ = "0.1.0"
