"""The border: trio code calls asyncio code and the other way round."""
