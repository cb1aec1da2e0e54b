"""The apps' port speaks HTTPS with a certificate from files, as a mounted Kubernetes Secret has them."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from router.http.wire.server_certificate import LOOK_EVERY_S
from tests.integration.gateway.running_gateway import read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica


def write_certificate(folder: Path, serial: int) -> dict[str, str]:
    """Write a self-signed certificate for 127.0.0.1; returns it as `gateway.tls`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "tls.crt").write_bytes(certificate.public_bytes(pem))
    (folder / "tls.key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return {"cert_file": str(folder / "tls.crt"), "key_file": str(folder / "tls.key")}


async def connect(port: int, folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as a client that trusts this certificate and no other."""
    context = ssl.create_default_context(cafile=folder / "tls.crt")
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def _stream(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD)
    for number in range(200):
        chunk = b"data: %d %s\n\n" % (number, b"x" * 1000)
        writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def test_streams_arrive_whole_over_tls(tmp_path: Path) -> None:
    """A client that checks the certificate gets every chunk of a stream, and again on the same connection."""
    tls = write_certificate(tmp_path, 1)
    async with ScriptedReplica(_stream) as replica, running_gateway([replica.port], tls=tls) as gateway:
        reader, writer = await connect(gateway.port, tmp_path)
        for _ in range(2):
            writer.write(request())
            status, _, body = await read_response(reader)
            assert status == 200
            assert [int(line.split()[1]) for line in body.splitlines() if line] == list(range(200))
        writer.close()


async def test_plain_http_is_turned_away(tmp_path: Path) -> None:
    """A client without TLS gets nothing, reaches no replica, and hurts nobody."""
    tls = write_certificate(tmp_path, 1)
    async with ScriptedReplica(_stream) as replica, running_gateway([replica.port], tls=tls) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()
        assert not replica.received
        _, other = await connect(gateway.port, tmp_path)
        other.close()


async def test_a_renewed_certificate_is_taken(tmp_path: Path) -> None:
    """New connections see the new certificate; while its files are unusable the old one stays."""
    tls = write_certificate(tmp_path, 1)
    async with running_gateway([], tls=tls) as gateway:
        assert gateway._certificate is not None
        gateway._certificate.refresh(0.0)
        old = (tmp_path / "tls.crt").read_bytes()
        (tmp_path / "tls.crt").write_text("half written")
        gateway._certificate.refresh(LOOK_EVERY_S)
        (tmp_path / "tls.crt").write_bytes(old)
        _, writer = await connect(gateway.port, tmp_path)
        assert writer.get_extra_info("ssl_object").getpeercert()["serialNumber"] == "01"
        writer.close()
        write_certificate(tmp_path, 2)
        gateway._certificate.refresh(2 * LOOK_EVERY_S)
        _, writer = await connect(gateway.port, tmp_path)
        assert writer.get_extra_info("ssl_object").getpeercert()["serialNumber"] == "02"
        writer.close()


async def test_an_unusable_certificate_is_told_at_the_start(tmp_path: Path) -> None:
    """The message names both files and what is wrong."""
    tls = {"cert_file": str(tmp_path / "none.crt"), "key_file": str(tmp_path / "none.key")}
    with pytest.raises(OSError, match=r"gateway\.tls: .*none\.crt and .*none\.key do not serve: .*No such file"):
        async with running_gateway([], tls=tls):
            pass
