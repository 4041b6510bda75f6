"""Where the configuration's values come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.client import ConfigInvalid, SHConfig
from swathe.client.config import HOSTED_BASE_URL, HOSTED_TOKEN_URL, connection_of

NAMES = ("SH_CLIENT_ID", "SH_CLIENT_SECRET", "SH_BASE_URL", "SH_AUTH_BASE_URL", "SH_TOKEN_URL", "SH_PROFILE")


@pytest.fixture(autouse=True)
def config_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in (*NAMES, "SH_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def write_profiles(folder: Path, text: str) -> Path:
    path = folder / "sentinelhub" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_the_hosted_service() -> None:
    config = SHConfig()
    assert config.sh_base_url == HOSTED_BASE_URL
    assert config.sh_token_url == HOSTED_TOKEN_URL
    assert config.sh_auth_base_url is None
    assert connection_of(config).attempts == 4


def test_arguments_win_over_the_environment_and_that_over_the_profile(
    monkeypatch: pytest.MonkeyPatch, config_home: Path
) -> None:
    write_profiles(
        config_home,
        '[default-profile]\nsh_client_id = "file"\nsh_client_secret = "file"\nsh_base_url = "http://file"\n'
        'instance_id = "other"\nmax_download_attempts = 2\n',
    )
    monkeypatch.setenv("SH_CLIENT_ID", "environment")
    monkeypatch.setenv("SH_CLIENT_SECRET", "environment")
    config = SHConfig(sh_client_id="argument")
    assert (config.sh_client_id, config.sh_client_secret, config.sh_base_url) == (
        "argument",
        "environment",
        "http://file",
    )
    assert config.max_download_attempts == 2
    assert SHConfig(use_defaults=True).sh_client_id == ""


def test_profiles_are_chosen_by_argument_then_by_environment(
    monkeypatch: pytest.MonkeyPatch, config_home: Path
) -> None:
    path = write_profiles(config_home, '[a]\nsh_client_id = "A"\n[b]\nsh_client_id = "B"\n')
    monkeypatch.setenv("SH_PROFILE", "a")
    assert SHConfig().sh_client_id == "A"
    assert SHConfig("b").sh_client_id == "B"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    monkeypatch.setenv("SH_CONFIG_FILE", str(path))
    assert SHConfig("b").sh_client_id == "B"
    assert SHConfig("b", config_file=path).sh_client_id == "B"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[default-profile]\nsh_client_id = 3\n", "'sh_client_id' in the configuration file .* must be a text"),
        ('[default-profile]\nmax_retries = "3"\n', "'max_retries' in the configuration file .* must be a number"),
        ("[default-profile\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_clear_error(config_home: Path, text: str, message: str) -> None:
    write_profiles(config_home, text)
    with pytest.raises(ConfigInvalid, match=message):
        SHConfig()


def test_a_named_profile_or_file_that_is_not_there_is_a_clear_error(config_home: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no configuration file"):
        SHConfig("mine")
    with pytest.raises(ConfigInvalid, match="no configuration file"):
        SHConfig(config_file="/nowhere.toml")
    write_profiles(config_home, "[default-profile]\n")
    with pytest.raises(ConfigInvalid, match="no profile 'mine'"):
        SHConfig("mine")


def test_the_token_url_follows_the_nearest_source_that_speaks_of_tokens(
    monkeypatch: pytest.MonkeyPatch, config_home: Path
) -> None:
    write_profiles(config_home, '[default-profile]\nsh_token_url = "http://file/token"\n')
    assert SHConfig().sh_token_url == "http://file/token"
    monkeypatch.setenv("SH_AUTH_BASE_URL", "http://environment/")
    assert SHConfig().sh_token_url == "http://environment/oauth/token"
    monkeypatch.setenv("SH_TOKEN_URL", "http://environment/other")
    assert SHConfig().sh_token_url == "http://environment/other"
    assert SHConfig(sh_auth_base_url="http://me").sh_token_url == "http://me/oauth/token"
    assert SHConfig(sh_auth_base_url="http://me", sh_token_url="http://t").sh_token_url == "http://t"


def test_attributes_may_be_set_later() -> None:
    config = SHConfig()
    config.sh_auth_base_url = "http://later"
    config.sh_base_url = "http://later/"
    assert connection_of(config).token_url == "http://later/oauth/token"
    assert connection_of(config).base_url == "http://later"


def test_secrets_are_masked() -> None:
    config = SHConfig(sh_client_id="0123456789abcdef", sh_client_secret="hush", aws_secret_access_key="quiet")
    for text in (repr(config), str(config), repr(connection_of(config))):
        assert "hush" not in text
        assert "quiet" not in text
    assert "************cdef" in repr(config)
    assert config.to_dict(mask_credentials=False)["sh_client_secret"] == "hush"


def test_objects_with_an_authentication_base_url_alone_are_taken() -> None:
    class Old:
        sh_client_id = "me"
        sh_client_secret = "hush"
        sh_base_url = "http://s/"
        sh_auth_base_url = "http://a"
        max_retries = None

    connection = connection_of(Old())
    assert connection.token_url == "http://a/oauth/token"
    assert connection.rate_limit_retries == 20


@pytest.mark.parametrize(
    ("base_url", "token_url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/oauth/token"),
        ("https://swathe.example.org/", "https://swathe.example.org/oauth/token"),
        ("https://services-uswest2.sentinel-hub.com", HOSTED_TOKEN_URL),
    ],
)
def test_tokens_come_from_a_server_of_ones_own_unless_said_otherwise(base_url: str, token_url: str) -> None:
    config = SHConfig(use_defaults=True, sh_base_url=base_url)
    assert connection_of(config).token_url == token_url
    config.sh_token_url = "https://elsewhere/token"
    assert connection_of(config).token_url == "https://elsewhere/token"
