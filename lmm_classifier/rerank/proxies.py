"""The proxy of a URL: what the environment names, but never for a server on this machine or in this network."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_LOCAL_ENDINGS = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


def proxy_for(url: str, setting: str = "auto") -> str | None:
    """Return the URL of the proxy through which `url` is asked; None where it is asked directly.

    Args:
        url: of the server.
        setting: `auto` for what the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), `off`
            for none, or the URL of a proxy, which is then used for every server.
    """
    if setting == "off":
        return None
    if setting != "auto":
        return setting
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_local(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host) or _excluded(host, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_local(host: str) -> bool:
    """Return whether a host is this machine or a server in its own network.

    Local are loopback, private and link-local addresses, names without a dot, and names that are reserved for local
    use, such as `nas.local`.
    """
    host = host.rstrip(".").lower()
    try:
        address = _address(host.partition("%")[0])
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_ENDINGS)
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_private or address.is_link_local or address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that a host is; `127.1` and `0x7f.1` are ones too for the system. Raises ValueError."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        with suppress(OSError, UnicodeError):
            return ipaddress.ip_address(socket.inet_aton(host))
        raise


def _excluded(host: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY holds a network with this address, which the standard library does not know."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        try:
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
