"""Handles to S3 buckets, made from the deployment's settings and nothing else.

The store library reads `AWS_*` variables and, without keys, asks the machine's metadata service. A request must never
borrow the machine's identity, nor have a stray session token sent along with its own keys: keys are handed over by a
provider, which switches all of that off, and everything else that the environment could set is set here.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import S3Store

from swathe.settings import StorageSettings
from swathe.storage.credentials import Credentials

if TYPE_CHECKING:  # these types have no being at run time
    from obstore.store import ClientConfig, RetryConfig, S3Credential, S3CredentialProvider

_REGION = re.compile(r"[A-Za-z0-9_-]+")
_CONNECT_S = 10.0
_LONGEST_TRANSFER = timedelta(hours=12)


def open_bucket(settings: StorageSettings, bucket: str, credentials: Credentials | None) -> S3Store:
    """A bucket at the deployment's endpoint; with no keys given, requests are unsigned (public buckets)."""
    region = (credentials.region if credentials else None) or settings.region
    if not _REGION.fullmatch(region):  # it is a part of the host's name
        raise ValueError(f"{region} is no region")
    endpoint = (settings.endpoint_url or f"https://s3.{region}.amazonaws.com").rstrip("/")
    return S3Store(
        bucket,
        endpoint=endpoint,
        aws_endpoint_url_s3=endpoint,
        region=region,
        virtual_hosted_style_request=False,
        skip_signature=credentials is None,
        request_payer=settings.requester_pays,
        s3_express=False,
        credential_provider=_provider(credentials) if credentials else None,
        client_options=_client_options(settings, allow_http=endpoint.startswith("http://")),
        retry_config=_retry_config(settings),
    )


def _provider(credentials: Credentials) -> S3CredentialProvider:
    keys: S3Credential = {
        "access_key_id": credentials.access_key,
        "secret_access_key": credentials.secret_access_key,
        "token": None,
        "expires_at": None,
    }
    return lambda: keys


def _client_options(settings: StorageSettings, *, allow_http: bool) -> ClientConfig:
    # `read_timeout` bounds silence; a bound on the whole transfer would cut a large GeoPackage short.
    return {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=min(_CONNECT_S, settings.timeout_s)),
        "read_timeout": timedelta(seconds=settings.timeout_s),
        "timeout": _LONGEST_TRANSFER,
        "user_agent": "swathe",
    }


def _retry_config(settings: StorageSettings) -> RetryConfig:
    return {
        "max_retries": settings.retries,
        "retry_timeout": timedelta(seconds=settings.timeout_s * (settings.retries + 1)),
    }
