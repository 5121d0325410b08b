"""All rows, in the order of the table. A new one goes into the `ROWS` of a module that is listed here."""

from __future__ import annotations

from . import border, cpu, echo

# "more": beside what the first table needs.
ROWS = {row.name: row for row in sorted([*cpu.ROWS, *echo.ROWS, *border.ROWS], key=lambda row: row.group == "more")}
