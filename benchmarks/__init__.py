"""Our loop's speed beside the standard library's, uvloop's and trio-asyncio's. See README.md."""
