"""Harnesses that disturb real runs of the command line and look at what is left: see docs/reliability.md."""
