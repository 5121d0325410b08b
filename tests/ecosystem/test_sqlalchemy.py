"""SQLAlchemy's asyncio extension on asyncpg, against PostgreSQL: its greenlets run under our loop."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import ForeignKey, exc, func, select, text
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from tests.support import Run

from .servers import Postgres
from .support import MANY, at_once, cut_off


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list[Book]] = relationship(order_by="Book.id")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))


def engine_for(postgres: Postgres) -> AsyncEngine:
    return create_async_engine(postgres.url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=MANY, pool_pre_ping=True)


def test_many_sessions_at_once_with_lazily_loaded_relations(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        engine = engine_for(postgres)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        new_session = async_sessionmaker(engine, expire_on_commit=True)

        async def write_and_read(number: int) -> list[str]:
            async with new_session() as session:
                author = Author(name=f"author {number}", books=[Book(title=f"{number}.{n}") for n in range(3)])
                session.add(author)
                await session.commit()
                await session.refresh(author)
                return [book.title for book in await author.awaitable_attrs.books]

        assert await at_once(write_and_read) == [[f"{number}.{n}" for n in range(3)] for number in range(MANY)]
        async with new_session() as session:
            assert await session.scalar(select(func.count()).select_from(Book)) == 3 * MANY
            titles = [book.title async for book in await session.stream_scalars(select(Book))]
            assert len(titles) == 3 * MANY
        await engine.dispose()

    on_loop(main)


def test_cut_off_statements_leave_a_pool_that_works(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        engine = engine_for(postgres)

        async def sleep() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(3600)"))

        async def sleeping(number: int) -> int | None:
            await cut_off(sleep)
            async with engine.connect() as connection:
                result: int | None = await connection.scalar(text(f"SELECT {number}"))
                return result

        assert await at_once(sleeping) == list(range(MANY))
        await engine.dispose()

    on_loop(main)


def test_server_crashes_under_statements_and_comes_back(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        engine = engine_for(postgres)
        begun = asyncio.Barrier(MANY + 1)

        async def sleeping(number: int) -> None:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                await begun.wait()
                with pytest.raises(exc.DBAPIError):
                    await connection.execute(text("SELECT pg_sleep(3600)"))

        async with asyncio.TaskGroup() as group:
            group.create_task(at_once(sleeping))
            await begun.wait()
            await asyncio.to_thread(postgres.crash)
        await asyncio.to_thread(postgres.start)

        async def again(number: int) -> int | None:
            async with engine.connect() as connection:
                result: int | None = await connection.scalar(text(f"SELECT {number}"))
                return result

        assert await at_once(again) == list(range(MANY))
        await engine.dispose()

    on_loop(main)
