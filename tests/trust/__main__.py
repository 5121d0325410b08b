"""Thousands of generated programs, compared: `python -m tests.trust --examples 5000 [--seed N]`."""
