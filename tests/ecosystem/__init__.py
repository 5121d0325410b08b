"""Real libraries on the loop, against real servers. Run with `python -m pytest tests/ecosystem`."""
