"""Each setting out of its range is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from manycore.errors import SettingsError
from manycore.settings import ServeSettings, table, variable

WHOLE: list[Any] = ["-1", "1.5", "x", "1e3", "9" * 40, True, None, 1.0, [], {}]
SECONDS: list[Any] = ["-1", "nan", "inf", "soon", "1s", True, None, [], "1e999"]
CHOICE: list[Any] = ["", "neither", 1, None, True, []]
SWITCH: list[Any] = ["perhaps", 2, None, []]
OUT_OF_RANGE: dict[str, list[Any]] = {
    "bind": ["", "nowhere", "host:70000", "[::1", 5, [], [5]],
    "backlog": [*WHOLE, 0, 65_536],
    "reuse_port": SWITCH,
    "unix_mode": ["9", "7777", -1, 0o1000, True, 1.0],
    "umask": ["9", "7777", -1, 0o1000, True, 1.0],
    "proxy_protocol": SWITCH,
    "proxy_from": ["10.0.0.0/99", "nobody", 5, [None]],
    "certificate": [5, [None], ["a", ""]],
    "key": [5, [None], ["a", ""]],
    "client_certificates": CHOICE,
    "alpn": [5, ["\xe9"], "x" * 256],
    "handshake_timeout": [*SECONDS, 0],
    "workers": [*WHOLE, 0, 501],
    "boot_timeout": [*SECONDS, 0],
    "mode": CHOICE,
    "asgi": SWITCH,
    "wsgi": SWITCH,
    "threads": [*WHOLE, 0, 32_769],
    "connections": [*WHOLE, 0, 1_000_001],
    "loop": CHOICE,
    "slow": SECONDS,
    "offload_workers": [*WHOLE, 0, 501],
    "max_connections": [*WHOLE, 10_000_001],
    "overflow": CHOICE,
    "max_per_address": [*WHOLE, 1_000_001],
    "first_byte_timeout": SECONDS,
    "idle_timeout": SECONDS,
    "timeout": SECONDS,
    "max_requests": [*WHOLE, 1_000_000_001],
    "max_requests_jitter": [*WHOLE, 1_000_000_001],
    "max_age": SECONDS,
    "max_rss": ["-1", "1.5G", "lots", "1T", 1 << 51, True, None],
    "graceful_timeout": SECONDS,
    "pre_stop_delay": SECONDS,
    "reload": SWITCH,
    "reload_extra": [5, [None], ["a", ""]],
    "reload_overlap": [*WHOLE, 0, 501],
    "log_level": CHOICE,
    "log_format": CHOICE,
}
#: any text will do here: what it names is looked for when it is used, and that has its own tests
TEXTS = {
    "key_password_file",
    "client_ca",
    "overflow_message",
    "user",
    "group",
    "hooks",
    "name",
    "control_socket",
    "pid_file",
    "log_file",
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_it_is_refused_by_name(name: str) -> None:
    """Whichever kind of thing it is; and its line says what to give."""
    for value in OUT_OF_RANGE[name]:
        with pytest.raises(SettingsError) as caught:
            ServeSettings(**{name: value})
        assert caught.value.where == name, value
        assert "\n" not in str(caught.value)
        assert table()[name].remedy in str(caught.value)


def test_no_setting_is_forgotten() -> None:
    """Whoever adds one adds what it must not be."""
    missing = table().keys() - OUT_OF_RANGE.keys() - TEXTS
    assert not missing, f"what must {', '.join(map(variable, missing))} not be?"
    assert not OUT_OF_RANGE.keys() & TEXTS
