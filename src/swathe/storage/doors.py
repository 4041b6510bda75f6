"""What a request, or a catalog from elsewhere, can make this deployment reach: the rules, and nothing that connects.

Buckets: a request names `s3://bucket/key` at the deployment's endpoint and nowhere else. With keys of its own it may name
any bucket there, since the store judges these keys; what it may name on the deployment's word, `storage.buckets` says.

Hosts: no request names any. The items of a catalog do, and a catalog is not always one's own: the hosts of the configured
sources and those of `storage.hosts` are reached whatever their address, all others at public addresses only, so that
nobody's link leads to a machine of the deployment's network or to its metadata service.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from swathe.model.errors import AccessDenied
from swathe.settings import Settings, StorageSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses of clouds' services for their own machines that are registered as public ones.
_NOT_PUBLIC = {ipaddress.ip_address("168.63.129.16")}
# RFC 6052: IPv4 addresses written as IPv6 ones for translators.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


class DoorClosed(AccessDenied):
    """The deployment does not reach this for a request, or for a catalog from elsewhere."""


def check_bucket(settings: StorageSettings, bucket: str, *, has_keys: bool, takes_keys: bool = True) -> None:
    """That a request may name a bucket; `has_keys` where it brings keys for it, `takes_keys` where it could.

    Without `storage.buckets` these are all buckets if nothing of the deployment's is lent by that: they are folders, or
    requests to the store go unsigned; none if the deployment has keys. A deployment of folders has no keys to judge, so
    its list holds for all requests.

    Raises:
        DoorClosed: it may not.
    """
    if has_keys and settings.local_root is None:
        return
    lends_keys = settings.access_key is not None and settings.local_root is None
    if settings.buckets is None and not lends_keys:
        return
    if any(fnmatchcase(bucket, pattern) for pattern in settings.buckets or ()):
        return
    remedy = "give keys of your own, or " if takes_keys and settings.local_root is None else ""
    raise DoorClosed(
        f"The bucket '{bucket}' is none that this deployment opens to requests; {remedy}have its operator list it in"
        " storage.buckets"
    )


def host_of(href: str) -> str:
    """The host that an `http(s)://` address names, in small letters; empty for any other address."""
    try:
        parts = urlsplit(href)
        return (parts.hostname or "").rstrip(".") if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def with_hosts(settings: StorageSettings, sources: Iterable[str]) -> StorageSettings:
    """The settings with the hosts of sources that the deployment names besides those it lists."""
    found = {host for source in sources if (host := host_of(source))} - set(settings.hosts)
    return settings.model_copy(update={"hosts": (*settings.hosts, *sorted(found))}) if found else settings


def storage_of(settings: Settings) -> StorageSettings:
    """A deployment's storage, the hosts of its collections' sources among those it reaches."""
    return with_hosts(settings.storage, (entry.source for entry in settings.collections))


def is_listed(settings: StorageSettings, host: str) -> bool:
    """Whether the deployment names a host, by name or by a pattern as in `*.example.org`."""
    host = host.casefold().rstrip(".")
    return any(fnmatchcase(host, pattern.casefold()) for pattern in settings.hosts)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the whole net's, also where it is written within another."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_is_public(each) for each in _written_in(found))


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and address not in _NOT_PUBLIC


def _written_in(address: Address) -> list[Address]:
    """The address, and the IPv4 address that it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner: list[Address] = [address]
    if address in _TRANSLATED:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        inner.append(address.sixtofour)
    if address.teredo is not None:
        inner += address.teredo
    return inner
