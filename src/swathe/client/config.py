"""Where the service is and who asks.

A value comes from the argument, else the environment, else the profile in a TOML file, else the default, which is the
hosted service. The file and its profiles are the published client's own; it is only ever read.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from swathe.client.exceptions import ConfigInvalid

DEFAULT_PROFILE = "default-profile"
HOSTED_BASE_URL = "https://services.sentinel-hub.com"
HOSTED_TOKEN_URL = "https://services.sentinel-hub.com/auth/realms/main/protocol/openid-connect/token"  # noqa: S105
_PROVIDER_HOSTS = (".sentinel-hub.com", ".copernicus.eu", ".planet.com")

_TEXTS = ("sh_client_id", "sh_client_secret", "sh_base_url", "sh_auth_base_url", "sh_token_url")
_AWS_TEXTS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_NUMBERS = ("max_download_attempts", "download_sleep_time", "download_timeout_seconds", "max_retries")
_SECRETS = ("sh_client_secret", *_AWS_TEXTS)


class SHConfig:
    """Configuration of the client.

    Every argument overrides what the environment (`SH_CLIENT_ID`, `SH_CLIENT_SECRET`, `SH_BASE_URL`,
    `SH_AUTH_BASE_URL`, `SH_TOKEN_URL`, `SH_PROFILE`, `SH_CONFIG_FILE`) and the profile say. Attributes may be set
    later; setting `sh_auth_base_url` moves `sh_token_url` to `<sh_auth_base_url>/oauth/token`.

    Args:
        profile: section of the configuration file.
        use_defaults: read neither the environment nor the file.
        config_file: instead of the file at `get_config_location()`.
        sh_client_id: OAuth2 client id.
        sh_client_secret: OAuth2 client secret.
        sh_base_url: where the service is. If it is not the provider's and nothing says where tokens come from, they come
            from `<sh_base_url>/oauth/token`.
        sh_auth_base_url: base of the token URL, `<sh_auth_base_url>/oauth/token`.
        sh_token_url: the token URL itself; it wins over `sh_auth_base_url` when both are given together.
        aws_access_key_id: reads results from S3; without it the environment's `AWS_ACCESS_KEY_ID` does.
        aws_secret_access_key: goes with it.
        aws_session_token: goes with temporary keys.
        max_download_attempts: how often a request is sent in all when the service is down or answers 5xx.
        download_sleep_time: seconds before the second attempt; each later pause is three times as long.
        download_timeout_seconds: seconds without a sign of life after which an attempt is given up.
        max_retries: how often a request that the rate limit refused (429) is sent again.

    Raises:
        ConfigInvalid: the file cannot be read, or the named profile is not in it.
    """

    sh_client_id: str
    sh_client_secret: str
    sh_base_url: str
    sh_token_url: str
    aws_access_key_id: str
    aws_secret_access_key: str
    aws_session_token: str
    max_download_attempts: int
    download_sleep_time: float
    download_timeout_seconds: float
    max_retries: int

    def __init__(
        self,
        profile: str | None = None,
        *,
        use_defaults: bool = False,
        config_file: str | os.PathLike[str] | None = None,
        sh_client_id: str | None = None,
        sh_client_secret: str | None = None,
        sh_base_url: str | None = None,
        sh_auth_base_url: str | None = None,
        sh_token_url: str | None = None,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_session_token: str | None = None,
        max_download_attempts: int | None = None,
        download_sleep_time: float | None = None,
        download_timeout_seconds: float | None = None,
        max_retries: int | None = None,
    ) -> None:
        arguments: dict[str, Any] = {
            "sh_client_id": sh_client_id,
            "sh_client_secret": sh_client_secret,
            "sh_base_url": sh_base_url,
            "sh_auth_base_url": sh_auth_base_url,
            "sh_token_url": sh_token_url,
            "aws_access_key_id": aws_access_key_id,
            "aws_secret_access_key": aws_secret_access_key,
            "aws_session_token": aws_session_token,
            "max_download_attempts": max_download_attempts,
            "download_sleep_time": download_sleep_time,
            "download_timeout_seconds": download_timeout_seconds,
            "max_retries": max_retries,
        }
        sources = [{name: value for name, value in arguments.items() if value is not None}]
        if not use_defaults:
            sources.append({name: os.environ[name.upper()] for name in _TEXTS if os.environ.get(name.upper())})
            sources.append(_read_profile(profile, config_file))
        self._set_values(sources)

    def _set_values(self, sources: list[dict[str, Any]]) -> None:
        defaults: dict[str, Any] = {
            **dict.fromkeys((*_TEXTS, *_AWS_TEXTS), ""),
            "sh_base_url": HOSTED_BASE_URL,
            "max_download_attempts": 4,
            "download_sleep_time": 5.0,
            "download_timeout_seconds": 120.0,
            "max_retries": 20,
        }
        for name in defaults:
            if name not in ("sh_auth_base_url", "sh_token_url"):
                setattr(self, name, next((source[name] for source in sources if name in source), defaults[name]))
        self._sh_auth_base_url: str | None = None
        self.sh_token_url = HOSTED_TOKEN_URL
        # The nearest source that says anything about tokens decides, so that an argument is not undone by a profile.
        for source in sources:
            if "sh_token_url" in source or "sh_auth_base_url" in source:
                self.sh_auth_base_url = source.get("sh_auth_base_url")
                self.sh_token_url = source.get("sh_token_url", self.sh_token_url)
                break

    @property
    def sh_auth_base_url(self) -> str | None:
        """Base of the token URL, None where the token URL does not come from one."""
        return self._sh_auth_base_url

    @sh_auth_base_url.setter
    def sh_auth_base_url(self, url: str | None) -> None:
        self._sh_auth_base_url = url
        if url:
            self.sh_token_url = oauth_token_url(url)

    @staticmethod
    def get_config_location() -> str:
        """Path of the configuration file that is read when no other is named."""
        if named := os.environ.get("SH_CONFIG_FILE"):
            return named
        folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        return os.path.join(folder, "sentinelhub", "config.toml")

    def to_dict(self, mask_credentials: bool = True) -> dict[str, Any]:
        """All values by name; secrets are masked unless asked for."""
        values = {name: getattr(self, name) for name in (*_TEXTS, *_AWS_TEXTS, *_NUMBERS)}
        if mask_credentials:
            values.update({name: "********" for name in _SECRETS if values[name]})
            values["sh_client_id"] = _mask(values["sh_client_id"])
        return values

    def __repr__(self) -> str:
        lines = ",\n  ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"{type(self).__name__}(\n  {lines},\n)"


@dataclass(frozen=True)
class Connection:
    """What the client needs of a configuration object, ours or the published client's."""

    base_url: str
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    attempts: int = 4
    first_pause_s: float = 5.0
    timeout_s: float = 120.0
    rate_limit_retries: int = 20


def connection_of(config: Any) -> Connection:
    """The connection that a configuration object describes.

    Takes any object with `sh_client_id`, `sh_client_secret`, `sh_base_url` and one of `sh_token_url` and
    `sh_auth_base_url`; the published client's older releases have the latter only. Where only `sh_base_url` was changed,
    to a place that is not the provider's, tokens come from there too: the default would send the secret elsewhere.
    """
    auth_base_url = getattr(config, "sh_auth_base_url", None)
    token_url = getattr(config, "sh_token_url", None) or (oauth_token_url(auth_base_url) if auth_base_url else None)
    base_url = str(config.sh_base_url).rstrip("/")
    if token_url in (None, "", HOSTED_TOKEN_URL):
        host = urlsplit(base_url).hostname or ""
        token_url = HOSTED_TOKEN_URL if host.endswith(_PROVIDER_HOSTS) else oauth_token_url(base_url)
    # The published client's `max_retries` is None for "without end"; here every wait has an end.
    retries = getattr(config, "max_retries", None)
    return Connection(
        base_url=base_url,
        token_url=token_url,
        client_id=config.sh_client_id or "",
        client_secret=config.sh_client_secret or "",
        attempts=max(1, int(getattr(config, "max_download_attempts", 4))),
        first_pause_s=float(getattr(config, "download_sleep_time", 5.0)),
        timeout_s=float(getattr(config, "download_timeout_seconds", 120.0)),
        rate_limit_retries=20 if retries is None else int(retries),
    )


def oauth_token_url(auth_base_url: str) -> str:
    """The token URL below an authentication base URL."""
    return auth_base_url.rstrip("/") + "/oauth/token"


def _read_profile(profile: str | None, config_file: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Values of the profile that this package knows; the file's other settings are for others."""
    named_profile = profile or os.environ.get("SH_PROFILE")
    named_file = config_file or os.environ.get("SH_CONFIG_FILE")
    path = Path(named_file or SHConfig.get_config_location())
    if not path.is_file():
        if named_file or named_profile:
            raise ConfigInvalid(
                f"there is no configuration file {path}; create it, or name another with SH_CONFIG_FILE"
            )
        return {}
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"the configuration file {path} cannot be read: {error}") from None
    section = profiles.get(named_profile or DEFAULT_PROFILE, None if named_profile else {})
    if not isinstance(section, dict):
        raise ConfigInvalid(f"the configuration file {path} has no profile '{named_profile}'")
    values = {name: section[name] for name in (*_TEXTS, *_AWS_TEXTS, *_NUMBERS) if section.get(name) not in (None, "")}
    for name, value in values.items():
        wanted: Any = int | float if name in _NUMBERS else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a number" if name in _NUMBERS else "a text"
            raise ConfigInvalid(f"'{name}' in the configuration file {path} must be {kind}")
    return values


def _mask(client_id: str) -> str:
    shown = client_id[-4:] if len(client_id) >= 12 else ""
    return "*" * (len(client_id) - len(shown)) + shown
