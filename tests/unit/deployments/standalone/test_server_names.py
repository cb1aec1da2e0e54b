"""Names with several addresses: which servers they stand for, and that these keep their identity."""

from collections.abc import Sequence

import pytest

from deployments.standalone.server_address import server_at
from deployments.standalone.server_names import ServerNames

SERVER = server_at("https://llm.internal:8000/openai")
PATH = ":8000/openai"


class Book:
    """An address book that a test changes."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def __call__(self, name: str) -> Sequence[str]:
        """Return the addresses of the one name there is."""
        assert name == "llm.internal"
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses


@pytest.mark.parametrize(
    ("addresses", "hosts"),
    [
        ((), ["llm.internal"]),
        (("10.0.0.1",), ["llm.internal"]),
        (("10.0.0.1", "fd00::1"), ["llm.internal"]),
        (("10.0.0.1", "10.0.0.2", "10.0.0.1"), ["10.0.0.1", "10.0.0.2"]),
        (("10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"), ["10.0.0.1", "10.0.0.2"]),
        (("10.0.0.1", "fd00::1", "fd00::2"), ["fd00::1", "fd00::2"]),
    ],
)
async def test_a_name_is_a_server_at_each_address_of_one_kind(addresses: tuple[str, ...], hosts: list[str]) -> None:
    """A host with an address of each kind counts once."""
    names = ServerNames(Book(*addresses))
    await names.look_up([SERVER])
    found = names.expand(SERVER)
    assert [server.host for server in found] == hosts
    assert {server.access.server_name for server in found} == {"llm.internal"}
    assert {server.access.path_prefix for server in found} == {"/openai"}


async def test_servers_keep_their_names_as_others_come_and_go() -> None:
    """The first one keeps the name it had alone, the others theirs; a look-up that fails changes nothing."""
    book = Book("10.0.0.1")
    names = ServerNames(book)

    async def found() -> dict[str, str]:
        await names.look_up([SERVER])
        return {server.host: server.name for server in names.expand(SERVER)}

    assert await found() == {"llm.internal": f"llm.internal{PATH}"}
    book.addresses = ("10.0.0.1", "10.0.0.2")
    both = {"10.0.0.1": f"llm.internal{PATH}", "10.0.0.2": f"10.0.0.2{PATH}"}
    assert await found() == both
    book.addresses = ()
    assert await found() == both
    book.addresses = ("10.0.0.2",)
    assert await found() == {"10.0.0.2": f"10.0.0.2{PATH}"}
    book.addresses = ("fd00::2", "fd00::3")
    assert await found() == {"fd00::2": f"[fd00::2]{PATH}", "fd00::3": f"[fd00::3]{PATH}"}


async def test_addresses_are_not_looked_up_and_names_that_left_are_forgotten() -> None:
    """What is no name needs no look-up; nothing grows with names that came and went."""
    book = Book("10.0.0.1", "10.0.0.2")
    names = ServerNames(book)
    plain = [server_at("10.0.0.7:1"), server_at("[::1]:1")]
    assert not await names.look_up(plain)
    assert await names.look_up([SERVER, *plain])
    assert [names.expand(server) for server in plain] == [[server] for server in plain]
    assert await names.look_up(plain)
    assert names.expand(SERVER) == [SERVER]
