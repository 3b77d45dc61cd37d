"""Addresses: no text is more than an error of one line, and what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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

pure = settings(deadline=None)  # a busy machine may stall any example; pytest's timeout guards

# The forms' own pieces in any order get further into the parser than random characters do.
PIECES = ["unix:", "fd://", ":", "[", "]", "::1", "localhost", "0", "80", "65536", " ", "\n", "\0"]
anything = st.one_of(
    st.text(st.characters()), st.lists(st.sampled_from([*PIECES, "\u0663", "\ud800"])).map("".join)
)

host_characters = st.characters(codec="utf-8", exclude_characters="[]:").filter(
    lambda character: character.isprintable() and not character.isspace()
)
names = st.text(host_characters, min_size=1)
hosts = st.one_of(names, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda path: len(path.encode()) <= LONGEST_UNIX_PATH
)
addresses = st.one_of(
    st.builds(TcpAddress, host=hosts, port=st.integers(0, HIGHEST_PORT)),
    st.builds(UnixAddress, path=paths),
    st.builds(InheritedSocket, fd=st.integers(0, 10**9 - 1)),
)


@pure
@given(text=anything)
def test_no_text_is_more_than_an_error_of_one_line(text: str) -> None:
    """Any text is an address that is written as one, or a ValueError with a line that says why."""
    try:
        address = parse_bind(text)
    except ValueError as error:
        said = str(error)
        assert said.splitlines() == [said]  # most texts are none, some are
    else:
        assert parse_bind(str(address)) == address


@pure
@given(address=addresses)
def test_addresses_are_read_back(address: BindAddress) -> None:
    """Every address is read from its text as itself."""
    assert parse_bind(str(address)) == address


@pure
@given(host=hosts, port=st.integers(0, HIGHEST_PORT), path=paths)
def test_what_a_socket_is_bound_to_is_read_back(host: str, port: int, path: str) -> None:
    """A listener's own address, written, names the same listener."""
    assert parse_bind(format_address((host, port))) == TcpAddress(host, port)
    assert parse_bind(format_address(path)) == UnixAddress(path)


@pure
@given(host=hosts, port=st.integers(HIGHEST_PORT + 1))
def test_no_port_is_above_the_highest(host: str, port: int) -> None:
    """A port that TCP cannot have is refused, however large."""
    with pytest.raises(ValueError, match=r"\S"):
        parse_bind(format_address((host, port)))
