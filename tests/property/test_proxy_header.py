"""PROXY headers: any bytes, split in any way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycore.server import proxy
from manycore.server.entrance import TurnedAway, _Taking

ports = st.integers(0, 65_535)


def one(source: Any, port: int, to_port: int) -> bytes:
    kind = "TCP4" if source.version == 4 else "TCP6"
    destination = "198.51.100.1" if source.version == 4 else "2001:db8::1"
    return f"PROXY {kind} {source} {destination} {port} {to_port}\r\n".encode()


def two(source: Any, port: int, to_port: int, extra: bytes = b"") -> bytes:
    kind = 0x11 if source.version == 4 else 0x21
    body: bytes = source.packed + bytes(len(source.packed))
    body += port.to_bytes(2, "big") + to_port.to_bytes(2, "big") + extra
    return proxy.SIGNATURE + bytes([0x21, kind]) + len(body).to_bytes(2, "big") + body


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ones = st.builds(one, addresses, ports, ports)
twos = st.builds(two, addresses, ports, ports, st.binary(max_size=40))
locals_ = st.binary(max_size=40).map(
    lambda body: proxy.SIGNATURE + b"\x20\x00" + len(body).to_bytes(2, "big") + body
)
unknown = st.sampled_from([b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"])
headers = st.one_of(ones, twos, locals_, unknown)
like_headers = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=120).map(lambda data: b"PROXY " + data),
    st.binary(max_size=120).map(lambda data: proxy.SIGNATURE + data),
    st.builds(
        lambda header, at: header[:at] + b"?" + header[at + 1 :], headers, st.integers(0, 60)
    ),
)


@given(addresses, ports, ports)
def test_both_versions_name_the_client(source: Any, port: int, to_port: int) -> None:
    """As `getpeername` would."""
    expected: Any = (str(source), port) if source.version == 4 else (str(source), port, 0, 0)
    assert proxy.parse(one(source, port, to_port)) == expected
    assert proxy.parse(two(source, port, to_port)) == expected


@given(st.one_of(locals_, unknown))
def test_what_names_nobody(header: bytes) -> None:
    """The connection's own address stays."""
    assert proxy.parse(header) is None


@given(headers, st.binary(max_size=50), st.lists(st.integers(1, 40), max_size=60))
def test_nothing_behind_the_header_is_taken(header: bytes, rest: bytes, sizes: list[int]) -> None:
    """However the bytes arrive, what is left is what the handler is to read."""
    data, taking, done = header + rest, _Taking(), False
    steps = iter(sizes)
    while not done:
        seen = data[: next(steps, 1024)]
        count = taking.look(seen)
        assert count > 0
        done = taking.take(data[:count])
        data = data[count:]
    assert data == rest
    assert taking.address == proxy.parse(header)


@given(headers, st.data())
def test_a_part_of_a_header_is_waited_for(header: bytes, data: st.DataObject) -> None:
    """No prefix is refused, or taken for a whole."""
    part = header[: data.draw(st.integers(0, len(header) - 1))]
    assert proxy.length(part) in {None, len(header)}


@given(like_headers)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but a `ProxyError` is raised, and the bytes' split changes nothing."""
    outcomes = []
    for step in (1, 7, 1024):
        taking, at = _Taking(), 0
        try:
            while True:
                seen = data[at : at + step]
                at += (count := taking.look(seen))
                if taking.take(seen[:count]):
                    outcomes.append((at, taking.address))
                    break
        except TurnedAway:
            outcomes.append((-1, None))
    assert len(set(outcomes)) == 1


def test_a_unix_client() -> None:
    """Its path is its address."""
    body = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
    header = proxy.SIGNATURE + b"\x21\x31" + len(body).to_bytes(2, "big") + body
    assert proxy.parse(header) == "/run/a"


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 \xb2 2\r\n",
        proxy.SIGNATURE + b"\x21\x11\x00\x04abcd",
    ],
)
def test_malformed_headers(line: bytes) -> None:
    """Each is refused."""
    assert proxy.length(line) == len(line)
    with pytest.raises(proxy.ProxyError):
        proxy.parse(line)
