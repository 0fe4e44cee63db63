"""Harnesses that disturb real runs of the command line and check the result: see docs/reliability.md."""
