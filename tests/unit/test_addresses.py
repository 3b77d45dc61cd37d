"""Addresses as text and as facts."""

from __future__ import annotations

import pytest

from manycore.base.addresses import (
    HIGHEST_PORT,
    LONGEST_UNIX_PATH,
    BindAddress,
    InheritedSocket,
    TcpAddress,
    UnixAddress,
    format_address,
    parse_bind,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("example.org:65535", TcpAddress("example.org", HIGHEST_PORT)),
        ("[::1]:8888", TcpAddress("::1", 8888)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        (":8000", TcpAddress("0.0.0.0", 8000)),
        ("unix:/run/echo.sock", UnixAddress("/run/echo.sock")),
        ("unix:echo.sock", UnixAddress("echo.sock")),
        ("unix:/tmp/with blank:1", UnixAddress("/tmp/with blank:1")),
        ("fd://3", InheritedSocket(3)),
    ],
)
def test_every_form_is_read(text: str, address: BindAddress) -> None:
    """host:port, [ipv6]:port, :port for every IPv4 interface, unix:path and fd://N."""
    assert parse_bind(text) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is no address"),
        ("localhost", "'localhost' is no address"),
        ("localhost:", "'localhost:' is no address"),
        ("localhost:http", "'localhost:http' is no address"),
        ("localhost:-1", "'localhost:-1' is no address"),
        ("localhost:\u0668\u0660", "'localhost:\u0668\u0660' is no address"),
        ("localhost:80\n", r"'localhost:80\n' is no address"),
        ("::1:8000", "'::1:8000' is no address"),
        ("[::1]", "'[::1]' is no address"),
        ("[::1]8000", "'[::1]8000' is no address"),
        ("http://localhost:80", "'http://localhost:80' is no address"),
        ("localhost:65536", "port 65536 is above 65535"),
        ("local host:80", "'local host:80' has a blank in its host"),
        ("[:: 1]:80", "'[:: 1]:80' has a blank in its host"),
        ("local\nhost:80", r"'local\nhost:80' has a blank in its host"),
        ("local\x1bhost:80", r"'local\x1bhost:80' has a blank in its host"),
        ("unix:", "'unix:' has no path"),
        ("unix:/tmp/a\0b", "the path has a zero byte"),
        ("fd://", "'fd://' has no descriptor number"),
        ("fd://-1", "'fd://-1' has no descriptor number"),
        ("fd://\u00b2", "'fd://\u00b2' has no descriptor number"),
    ],
)
def test_what_is_no_address_says_so(text: str, problem: str) -> None:
    """The error is one line that quotes what was written, or says which limit was passed."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        parse_bind(text)
    assert str(caught.value) == problem


def test_brackets_without_a_host_are_no_address() -> None:
    """An empty host would be written as `:80`, which means every interface."""
    with pytest.raises(ValueError, match=r"'\[\]:80'"):
        parse_bind("[]:80")


def test_a_unix_path_may_be_as_long_as_the_kernels() -> None:
    """The limit is counted in bytes, as the kernel does."""
    longest = "/" + "a" * (LONGEST_UNIX_PATH - 1)
    assert parse_bind(f"unix:{longest}") == UnixAddress(longest)
    with pytest.raises(ValueError, match="the path has 108 bytes, a Unix socket's at most 107"):
        parse_bind(f"unix:{longest}a")
    with pytest.raises(ValueError, match="the path has 200 bytes"):
        parse_bind("unix:" + "\u00e9" * 100)


def test_a_path_that_is_not_unicode_is_read() -> None:
    """File names are bytes: what the file system encoding cannot say comes through as it is."""
    assert parse_bind("unix:/tmp/\udcff") == UnixAddress("/tmp/\udcff")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80), "[::1]:80"),
        (("localhost", 0), "localhost:0"),
        ("/run/echo.sock", "unix:/run/echo.sock"),
    ],
)
def test_socket_addresses_are_written_as_they_are_read(
    address: tuple[str, int] | str, text: str
) -> None:
    """What a listener says of itself can be given to `--bind`."""
    assert format_address(address) == text
    assert str(parse_bind(text)) == text


def test_descriptors_are_written_as_they_are_read() -> None:
    """An inherited socket is named by its number."""
    assert str(InheritedSocket(3)) == "fd://3"
