"""The synchronous client and its tests are written from the asynchronous ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients import sync

SOURCE = '''
"""An await in a docstring stays; the names change: AsyncClient, _AsyncRun, Asynchronous."""

from contextlib import AsyncExitStack

class AsyncClient(_AsyncBase):
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.aio = "aio"  # async and await in a comment stay, AsyncClient does not

    async def __aenter__(self) -> AsyncClient:
        return self

    async def etag(self, name: str) -> str:
        version = (await self.get(name, kinds=[1])).etag if name else await self.latest()
        async with self.lock, other(await self.get(name)) as held:
            async for page in self.pages(-(await held[0].size)):
                yield f"AsyncRun({await_of!r}, {name + '}'})"
        return await (self.one or self.other)
'''
EXPECTED = '''
"""An await in a docstring stays; the names change: Client, _Run, Asynchronous."""

from contextlib import ExitStack

class Client(_Base):
    def __init__(self, channel: grpc.Channel) -> None:
        self.aio = "aio"  # async and await in a comment stay, Client does not

    def __enter__(self) -> Client:
        return self

    def etag(self, name: str) -> str:
        version = self.get(name, kinds=[1]).etag if name else self.latest()
        with self.lock, other(self.get(name)) as held:
            for page in self.pages(-held[0].size):
                yield f"Run({await_of!r}, {name + '}'})"
        return (self.one or self.other)
'''


def test_async_and_await_are_struck_and_names_changed_but_not_what_text_says() -> None:
    assert sync.synchronous(SOURCE) == EXPECTED


def test_a_parenthesis_that_a_line_break_needs_stays() -> None:
    assert sync.synchronous("x = (\n    await f()\n)\n") == "x = (\n    f()\n)\n"


def test_what_only_one_client_is_said_to_be_is_said_of_the_other_in_its_own_words() -> None:
    for told, instead in sync.TEXTS.items():
        assert sync.synchronous(f'"""So: {told}"""\n') == f'"""So: {instead}"""\n'
        assert any(told in (sync.ROOT / source).read_text(encoding="utf-8") for source in sync.TARGETS)


@pytest.mark.parametrize("literal", ['f"{x!r:>{width}} {{}}"', "rf'''a\n{x}\n'''", "f\"{f'{x}'}\"", '"é±…"'])
def test_a_string_is_one_token_where_it_stands(literal: str) -> None:
    source = f"s = {literal}; y\n"
    (string, *_) = found = [token for token in sync.tokens(source) if token.text not in {"s", "="}]
    assert string.text == source[string.start : string.end] == literal
    assert [token.text for token in found[1:3]] == [";", "y"]


def test_the_committed_files_are_what_their_sources_give() -> None:
    assert sync.stale() == []


def test_an_edited_and_a_missing_target_are_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "ROOT", tmp_path)
    monkeypatch.setattr(sync, "TARGETS", {"aio.py": "client.py"})
    (tmp_path / "aio.py").write_text("async def f():\n    return (await g())\n")
    assert sync.stale() == ["client.py"]
    sync.main()
    written = (tmp_path / "client.py").read_text()
    assert written.splitlines()[0] == "# Generated from aio.py by clients/sync.py; edit the source."
    assert written.endswith("def f():\n    return g()\n")
    assert sync.stale() == []
    (tmp_path / "client.py").write_text(written.replace("g()", "h()"))
    assert sync.stale() == ["client.py"]
