"""Tests of the border between trio and asyncio."""
