"""Fetching a page from the open web without reaching anything private.

Every address a request would connect to, also after each redirect, must be public; the connection then goes to
the very address that was looked at, so that a name cannot change its mind in between.
"""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from helpers.tools.browser.page import BrowserError

MAX_BYTES = 2_000_000
MAX_REDIRECTS = 5
TIMEOUT_S = 15.0
PORTS = {"http": 80, "https": 443}
TEXT_TYPES = ("text/", "application/json", "application/xml", "application/xhtml+xml", "application/ld+json")
AGENT = "gpt-oss-cookbook-browser/1 (a user's local tool)"


@dataclass(frozen=True)
class Fetched:
    """A page as it came: where it came from in the end, its media type, its text."""

    url: str
    media: str
    text: str


def public(address: str) -> bool:
    """Whether an IP address belongs to the open internet: not private, loopback, link-local, shared or reserved."""
    ip = ipaddress.ip_address(address)
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if mapped is None and ip.version == 6 and ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64, RFC 6052
        mapped = ipaddress.ip_address(int(ip) & 0xFFFFFFFF)
    if mapped is not None:
        return public(str(mapped))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not getattr(ip, "is_site_local", False)


def target(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an address that may be asked for; raises BrowserError for any other."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise BrowserError(f"`{url[:200]}` is not an address.") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise BrowserError(f"`{url[:200]}` is not a full http or https address.")
    if parts.username or parts.password:
        raise BrowserError("Addresses with a user name or password are refused.")
    if port not in (None, PORTS[parts.scheme]):
        raise BrowserError(f"Port {port} is refused: only the web's own ports are opened.")
    return parts.scheme, parts.hostname, PORTS[parts.scheme]


async def resolve(host: str, port: int) -> str:
    """The address to connect to; raises BrowserError unless every address of the name is public."""
    import asyncio

    try:
        resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise BrowserError(f"The name `{host[:200]}` cannot be resolved.") from None
    addresses = [str(entry[4][0]).split("%")[0] for entry in resolved]
    if not addresses or not all(public(address) for address in addresses):
        raise BrowserError(f"`{host[:200]}` leads to a private address, which is refused.")
    return addresses[0]


async def fetch(url: str, resolver=resolve, transport=None) -> Fetched:
    """The page of a public address. Raises BrowserError for whatever is refused or fails.

    `resolver` and `transport` are the two effects, for tests.
    """
    import httpx

    async with httpx.AsyncClient(
        transport=transport, trust_env=False, follow_redirects=False, timeout=TIMEOUT_S, headers={"user-agent": AGENT}
    ) as client:
        for _ in range(MAX_REDIRECTS + 1):
            _scheme, host, port = target(url)
            address = await resolver(host, port)
            pinned = httpx.URL(url).copy_with(host=address)
            request = client.build_request(
                "GET", pinned, headers={"host": host}, extensions={"sni_hostname": host.encode("idna").decode()}
            )
            try:
                response = await client.send(request, stream=True)
            except httpx.HTTPError as error:
                raise BrowserError(f"`{url[:200]}` did not answer ({type(error).__name__}).") from None
            try:
                if response.is_redirect:
                    url = urljoin(url, response.headers["location"])
                    continue
                return await _read(url, response)
            finally:
                await response.aclose()
    raise BrowserError(f"More than {MAX_REDIRECTS} redirects: given up.")


async def _read(url: str, response) -> Fetched:
    import httpx

    if response.status_code >= 400:
        raise BrowserError(f"`{url[:200]}` answered {response.status_code}.")
    media = response.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    if not media.startswith(TEXT_TYPES):
        raise BrowserError(f"`{url[:200]}` is {media or 'of unknown type'}, not text: refused.")
    too_big = BrowserError(f"`{url[:200]}` is larger than {MAX_BYTES // 1_000_000} MB: refused.")
    announced = response.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > MAX_BYTES:
        raise too_big
    body = bytearray()
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_BYTES:
                raise too_big
    except httpx.HTTPError as error:
        raise BrowserError(f"`{url[:200]}` broke off ({type(error).__name__}).") from None
    if b"\0" in body[:4096]:
        raise BrowserError(f"`{url[:200]}` holds binary data: refused.")
    return Fetched(url, media, body.decode(response.charset_encoding or "utf-8", "replace"))
