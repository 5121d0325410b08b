"""A small suite for each plugin that runs asyncio's tests, for `test_pytest_plugin.py`. LOOP stands for the name of the loop's class."""

from __future__ import annotations

SUITES = {
    "pytest-asyncio": """
import asyncio
import pytest, pytest_asyncio

@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def task():
    task = asyncio.create_task(asyncio.sleep(0, "result"))
    yield task
    assert await task == "result"

@pytest.mark.asyncio(loop_scope="module")
async def test_module(task):
    assert await task == "result"
    assert type(asyncio.get_running_loop()).__name__ == LOOP

@pytest.mark.asyncio
async def test_function():
    async with asyncio.timeout(60):
        assert await asyncio.to_thread(int) == 0
    assert type(asyncio.get_running_loop()).__name__ == LOOP
""",
    "anyio": """
import asyncio
import anyio, pytest, sniffio
pytestmark = pytest.mark.anyio

@pytest.fixture
async def stream():
    async with anyio.create_task_group() as group:
        yield group

async def test_function(stream, anyio_backend_name):
    stream.start_soon(anyio.sleep, 0)
    assert sniffio.current_async_library() == anyio_backend_name
    if anyio_backend_name == "asyncio":
        assert type(asyncio.get_running_loop()).__name__ == LOOP
""",
    "unittest": """
import asyncio, unittest

class Test(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.task = asyncio.create_task(asyncio.sleep(0, "result"))

    async def test_method(self):
        self.assertEqual(await self.task, "result")
        self.assertEqual(type(asyncio.get_running_loop()).__name__, LOOP)

    async def test_another(self):
        await self.task
""",
    "aiohttp": """
import asyncio
import pytest
from aiohttp import web
pytestmark = pytest.mark.filterwarnings("ignore:aiohttp.pytest_plugin:DeprecationWarning")

async def hello(request):
    return web.Response(text=type(asyncio.get_running_loop()).__name__)

@pytest.fixture
async def client(loop, aiohttp_client):
    app = web.Application()
    app.router.add_get("/", hello)
    return await aiohttp_client(app)

async def test_client(client):
    async with client.get("/") as response:
        assert await response.text() == LOOP

async def test_without_fixtures():
    assert type(asyncio.get_running_loop()).__name__ == LOOP
""",
    "asyncio": """
import asyncio

async def main():
    return type(asyncio.get_running_loop()).__name__

def test_run():
    assert asyncio.run(main()) == LOOP

def test_new_loop():
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(main()) == LOOP
    loop.close()
""",
}
