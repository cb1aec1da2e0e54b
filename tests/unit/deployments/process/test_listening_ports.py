"""Ports for servers that listen later are none that anybody's outgoing connection may take meanwhile."""

import socket
from pathlib import Path

import pytest

from deployments.process import listening_ports
from deployments.process.listening_ports import CONNECTIONS, free_ports


def test_no_connection_may_take_them() -> None:
    """A row of ports is free and outside of the range that the kernel gives to connections."""
    first, last = map(int, CONNECTIONS.read_text().split())
    for _ in range(50):
        port = free_ports("127.0.0.1", 3)
        assert port is not None
        for each in range(port, port + 3):
            assert not first <= each <= last
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", each))


@pytest.mark.parametrize(
    ("connections", "begin", "end"), [("10000 50000", 50_001, 65_535), ("1024 65535", 20_000, 65_535)]
)
def test_another_range_of_connections(
    connections: str, begin: int, end: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel's range is another, so are the ports; where it is everything, any port must do."""
    file = tmp_path / "range"
    file.write_text(connections)
    monkeypatch.setattr(listening_ports, "CONNECTIONS", file)
    port = free_ports("127.0.0.1", 2)
    assert port is not None
    assert begin <= port < end


def test_none_where_there_are_none() -> None:
    """More ports in a row than there are, or an address that is not this machine's, are no ports."""
    assert free_ports("192.0.2.1", 1) is None
