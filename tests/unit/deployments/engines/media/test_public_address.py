"""Only addresses of the public internet are public, in whatever form they are written."""

import socket

import pytest

from deployments.engines.media.public_address import is_public

PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2001:0:808:808::1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "no address",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """Also IPv6 that stands for a public IPv4 address."""
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_not_public(address: str) -> None:
    """Private, loopback, link-local, shared, documentation, multicast, reserved, metadata; IPv6 that hides one."""
    assert not is_public(address)


@pytest.mark.parametrize("spelling", ["2130706433", "017700000001", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1"])
def test_odd_spellings_of_loopback_are_seen_through(spelling: str) -> None:
    """What the system makes of decimal, octal, hexadecimal and short forms is what is checked."""
    (address, *_) = socket.getaddrinfo(spelling, 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
    assert address[4][0] == "127.0.0.1"
    assert not is_public(str(address[4][0]))
