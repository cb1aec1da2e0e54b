"""The TLS certificate of the apps' port, from files that may change while the gateway runs."""

import ssl
from pathlib import Path
from typing import Final

import structlog

from cluster.spec.gateway_spec import TlsSpec

LOOK_EVERY_S: Final = 10.0
"""Seconds between two looks at the files. The kubelet itself takes up to a minute to write a changed Secret."""

_log = structlog.get_logger("rackserve.gateway")


class ServerCertificate:
    """A TLS context that takes a changed certificate over from its files.

    Args:
        spec: the paths of the certificate and key files.

    Attributes:
        context: the context for listening sockets; connections made after a change get the new certificate.

    Raises:
        OSError: a file cannot be read, or holds no certificate or key; the message names both files.
    """

    def __init__(self, spec: TlsSpec) -> None:
        self._spec = spec
        self._looked_s = 0.0
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_alpn_protocols(["http/1.1"])
        try:
            self._seen = self._stamp()
            self._load()
        except (OSError, ssl.SSLError) as error:
            raise OSError(
                getattr(error, "errno", None),
                f"gateway.tls: {spec.cert_file} and {spec.key_file} do not serve: {error}",
            ) from error

    def refresh(self, now_s: float) -> None:
        """Load the files if they have changed; look at most every `LOOK_EVERY_S`.

        Where the files cannot be used, the old certificate stays and a warning is logged.
        """
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._load()
                self._seen = stamp
                _log.info("certificate renewed", file=self._spec.cert_file)
        except (OSError, ssl.SSLError) as error:
            _log.warning("certificate not renewed", file=self._spec.cert_file, error=str(error))

    def _stamp(self) -> tuple[int, int]:
        return Path(self._spec.cert_file).stat().st_mtime_ns, Path(self._spec.key_file).stat().st_mtime_ns

    def _load(self) -> None:
        self.context.load_cert_chain(self._spec.cert_file, self._spec.key_file)
