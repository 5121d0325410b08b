"""Streams across the border."""
