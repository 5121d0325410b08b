"""All rows, in the order of the table. A new one goes into the `ROWS` of a module that is listed here."""

from __future__ import annotations

from . import border, cpu, echo, growth, web

ALL = [*cpu.ROWS, *echo.ROWS, *border.ROWS, *growth.ROWS, *web.ROWS]
# "more": beside what the first table needs.
ROWS = {row.name: row for row in sorted(ALL, key=lambda row: row.group == "more")}
