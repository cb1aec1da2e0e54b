"""HTTP to the cluster's own addresses: direct, whatever `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.

Requests go from gateways to replicas directly. What looks after them must go the same way: a proxy that does not know
the cluster's addresses would make what works look dead.
"""

from collections.abc import Mapping

import httpx


def direct_client(
    *,
    timeout: float | httpx.Timeout,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    reads_certificates: bool = True,
) -> httpx.Client:
    """Return an HTTP client that uses no proxy. As everywhere, `SSL_CERT_FILE` names the certificates to trust.

    Args:
        timeout: seconds, or a limit for each phase.
        base_url: what relative URLs are relative to.
        headers: sent with each request.
        reads_certificates: read the certificates to trust, which takes tens of milliseconds; HTTPS needs them.
    """
    # httpx reads the variables for proxies only where it makes the transport itself.
    return httpx.Client(
        base_url=base_url, headers=headers, timeout=timeout, transport=httpx.HTTPTransport(verify=reads_certificates)
    )


def direct_get(url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Return the answer of one GET.

    Raises:
        httpx.HTTPError: nothing answers there in time.
    """
    is_https = url.lower().startswith("https:")
    with direct_client(timeout=timeout_s, headers=headers, reads_certificates=is_https) as client:
        return client.get(url)
