"""Connections in greenlets behave like blocking sockets, and the hub wakes whom it must."""

from __future__ import annotations

import array
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manycore
from eventually import eventually
from manycore.server.modes.connection import SMALL, GreenConnection
from manycore.server.modes.hub import Hub

HANDLED = 10  # seconds that a handler may take


class Running:
    """A hub in a thread, and what was started in it."""

    def __init__(self, slow: float = 0.0) -> None:
        self.hub = Hub(slow)
        self.thread = threading.Thread(target=self.hub.run, name="hub")
        self.thread.start()

    def start(self, handler: Callable[[Any], Any], conn: socket.socket) -> Callable[[], Any]:
        """Runs a handler over a connection; gives what gives what it returned."""
        done = threading.Event()
        result: list[Any] = []

        def run() -> None:
            try:
                with GreenConnection(self.hub, conn) as connection:
                    result.append(handler(connection))
            except BaseException as error:
                result.append(error)
            finally:
                done.set()

        self.spawn(run)

        def outcome() -> Any:
            assert done.wait(HANDLED), "the handler hangs"
            if isinstance(result[0], BaseException):
                raise result[0]
            return result[0]

        return outcome

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Starts a greenlet, from any thread."""
        self.hub.call(self.hub.spawn, lambda _: function(*arguments), None)

    def stop(self) -> None:
        self.hub.stop()
        self.thread.join(5)
        assert not self.thread.is_alive()


@pytest.fixture
def running() -> Iterator[Running]:
    hub = Running()
    yield hub
    hub.stop()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=HANDLED)
        conn, _ = listener.accept()
        return client, conn


def unix_pair() -> tuple[socket.socket, socket.socket]:
    client, conn = socket.socketpair()
    client.settimeout(HANDLED)
    return client, conn


Pair = Callable[[], tuple[socket.socket, socket.socket]]


@pytest.fixture(params=[tcp_pair, unix_pair], ids=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    client, conn = cast("Pair", request.param)()
    yield client, conn
    client.close()
    conn.close()


Both = tuple[socket.socket, socket.socket]


class TestReading:
    def test_it_waits_for_what_is_not_there(self, running: Running, pair: Both) -> None:
        """Bytes come when they come; the end comes as no bytes."""
        client, conn = pair
        result = running.start(lambda c: [c.recv(100), c.recv(100), c.recv(100)], conn)
        client.sendall(b"one")
        time.sleep(0.02)
        client.sendall(b"two")
        time.sleep(0.02)
        client.shutdown(socket.SHUT_WR)
        assert result() == [b"one", b"two", b""]

    def test_the_end_that_comes_with_the_last_bytes(self, running: Running, pair: Both) -> None:
        """One event tells of both, and the second read still ends."""
        client, conn = pair
        client.sendall(b"all")
        client.shutdown(socket.SHUT_WR)
        assert running.start(lambda c: [c.recv(100), c.recv(100)], conn)() == [b"all", b""]

    def test_urgent_bytes_in_the_middle(self, running: Running) -> None:
        """They end a read early, which does not mean that nothing is left."""
        client, conn = tcp_pair()

        def handle(c: socket.socket) -> bytes:
            received = b""
            while data := c.recv(100):
                received += data
                if received.endswith(b"end"):
                    break
            return received

        with client:
            for _ in range(20):
                client.send(b"some")
                client.send(b"!", socket.MSG_OOB)
                client.send(b"more")
            client.send(b"end")
            result = running.start(handle, conn)
            assert result().replace(b"!", b"") == b"somemore" * 20 + b"end"

    def test_one_read_gives_all_that_is_there(self, running: Running, pair: Both) -> None:
        """Whatever the last one gave, and however much it asks for beyond."""
        client, conn = pair
        sizes = [1, SMALL - 1, SMALL, SMALL + 1, 5000]
        steps = [(size, asked) for size in sizes for asked in (size, size + 1, 9000)] * 5
        random.Random(7).shuffle(steps)

        def handle(c: socket.socket) -> list[int]:
            got = []
            for _, asked in steps:
                c.sendall(b"g")
                got.append(len(c.recv(asked)))
            return got

        result = running.start(handle, conn)
        for size, _ in steps:
            assert client.recv(1) == b"g"
            client.sendall(b"x" * size)
        assert result() == [size for size, _ in steps]

    @pytest.mark.parametrize("size", [SMALL, SMALL + 1, 5000])
    def test_a_failure_comes_after_all_bytes(self, running: Running, size: int) -> None:
        """Of a connection that is reset, as a blocking socket gives them."""
        client, conn = tcp_pair()
        client.sendall(b"x" * size)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

        def handle(c: socket.socket) -> int:
            got = len(c.recv(9000))
            with pytest.raises(ConnectionResetError):
                c.recv(9000)
            return got

        assert running.start(handle, conn)() == size

    def test_every_way_to_read(self, running: Running, pair: Both) -> None:
        """Each waits, and gives what the standard library's gives."""
        client, conn = pair

        def handle(c: socket.socket) -> Any:
            buffer = bytearray(4)
            said = [c.recv_into(buffer), bytes(buffer), c.recv_into(buffer, 2), bytes(buffer[:2])]
            said += [c.recvfrom(2)[0], c.recvfrom_into(buffer)[0], c.recvmsg(4)[0]]
            said += [c.recvmsg_into([buffer])[0], c.recv_into(array.array("i", [0]))]
            return said

        result = running.start(handle, conn)
        for chunk in (b"abcd", b"ef", b"gh", b"ijkl", b"mnop", b"qrst", b"uvwx"):
            client.sendall(chunk)
            time.sleep(0.02)
        assert result() == [4, b"abcd", 2, b"ef", b"gh", 4, b"mnop", 4, 4]

    def test_flags(self, running: Running, pair: Both) -> None:
        """To peek takes nothing; to wait for all does; not to wait does not."""
        client, conn = pair

        def handle(c: socket.socket) -> Any:
            with pytest.raises(BlockingIOError):
                c.recv(1, socket.MSG_DONTWAIT)
            c.sendall(b"go")
            peeked = c.recv(2, socket.MSG_PEEK)
            return peeked, c.recv(1), c.recv(7, socket.MSG_WAITALL), c.recv(9, socket.MSG_WAITALL)

        result = running.start(handle, conn)
        assert client.recv(2) == b"go"
        for chunk in (b"abcd", b"ef", b"gh", b"ij"):
            client.sendall(chunk)
            time.sleep(0.02)
        client.shutdown(socket.SHUT_WR)
        assert result() == (b"ab", b"a", b"bcdefgh", b"ij")

    def test_files(self, running: Running, pair: Both) -> None:
        """`makefile` reads lines and writes text, as over any socket."""
        client, conn = pair

        def handle(c: socket.socket) -> Any:
            with c.makefile("rwb") as file:
                lines = [file.readline(), file.readline()]
                file.write(b"".join(lines))
                file.flush()
                return lines, file.read()

        result = running.start(handle, conn)
        client.sendall(b"first\nsec")
        time.sleep(0.02)
        client.sendall(b"ond\nrest")
        client.shutdown(socket.SHUT_WR)
        assert result() == ([b"first\n", b"second\n"], b"rest")
        assert client.makefile("rb").read() == b"first\nsecond\n"


class TestWriting:
    def test_a_reader_that_is_slow(self, running: Running, pair: Both) -> None:
        """Everything arrives, in order; the sender waits, and others do not."""
        client, conn = pair
        data = random.Random(1).randbytes(4_000_000)
        result = running.start(lambda c: c.sendall(memoryview(data)), conn)
        second, other = unix_pair()
        with second:
            answer = running.start(lambda c: c.sendall(c.recv(10)), other)
            second.sendall(b"quick")
            assert second.recv(10) == b"quick"
            answer()
        received = bytearray()
        while len(received) < len(data):
            received += client.recv(100_000)
        result()
        assert received == data

    def test_every_way_to_write(self, running: Running, pair: Both, tmp_path: Path) -> None:
        """Each waits until there is room."""
        client, conn = pair
        path = tmp_path / "file"
        path.write_bytes(b"f" * 3_000_000)

        def handle(c: socket.socket) -> int:
            total = c.send(b"a") + c.sendmsg([b"b", b"c"])
            c.sendall(array.array("i", [0]))
            with path.open("rb") as file:
                total += c.sendfile(file, 10)
                assert file.tell() == 3_000_000
                total += c.sendfile(file, 5, 10)
            c.shutdown(socket.SHUT_WR)
            return total

        result = running.start(handle, conn)
        received = client.makefile("rb").read()
        assert result() == 3 + 2_999_990 + 10
        assert received == b"abc" + bytes(4) + b"f" * 3_000_000

    def test_two_greenlets_write_to_one_connection(self, running: Running, pair: Both) -> None:
        """Both get their bytes through, also when both have to wait."""
        client, conn = pair
        size = 1_000_000
        done: list[bytes] = []

        def handle(c: GreenConnection) -> None:
            def other() -> None:
                c.sendall(b"b" * size)
                done.append(b"b")

            running.spawn(other)
            c.sendall(b"a" * size)
            while not done:
                manycore.sleep(0.01)
            c.shutdown(socket.SHUT_WR)

        result = running.start(handle, conn)
        received = client.makefile("rb").read()
        result()
        assert (received.count(b"a"), received.count(b"b")) == (size, size)

    def test_two_greenlets_read_from_one_connection(self, running: Running, pair: Both) -> None:
        """What comes goes to the one that still waits."""
        client, conn = pair
        got: list[bytes] = []

        def second(c: GreenConnection) -> None:
            c.settimeout(None)
            got.append(c.recv(10))

        def first(c: GreenConnection) -> None:
            c.settimeout(0.05)
            running.spawn(second, c)
            with pytest.raises(TimeoutError):
                c.recv(10)
            client.sendall(b"late")
            while not got:
                manycore.sleep(0.01)

        running.start(first, conn)()
        assert got == [b"late"]

    def test_many_that_are_woken_at_once(self, running: Running) -> None:
        """Each gets its turn, though some of them fail, close another one or start one."""
        pairs = [tcp_pair() for _ in range(40)]
        conns: list[GreenConnection] = []

        def fail(number: int) -> None:
            raise ValueError(number)

        def close_next(number: int) -> None:
            conns[number + 1].close()  # its greenlet is among the woken

        def start_another(_number: int) -> None:
            running.spawn(manycore.sleep, 0)

        doings = [start_another, fail, close_next, start_another]

        def handle(number: int, c: GreenConnection) -> None:
            conns.append(c)
            while data := c.recv(10):
                doings[number % 4](number)
                c.sendall(data)

        results = [
            running.start(partial(handle, number), conn) for number, (_, conn) in enumerate(pairs)
        ]
        eventually(lambda: len(conns) == len(pairs), within=5)
        running.hub.call(time.sleep, 0.1)  # so that all of it comes at once
        clients = [client for client, _ in pairs]
        for client in clients:
            client.sendall(b"x")
        assert [client.recv(10) for client in clients[0::2]] == [b"x"] * 20
        for client in clients:
            client.close()
        ends: list[Any] = [None, ValueError, None, OSError]
        for number, result in enumerate(results):
            with pytest.raises(end) if (end := ends[number % 4]) else nullcontext():
                result()

    def test_a_client_that_resets(self, running: Running) -> None:
        """The handler is told so, wherever it waits."""
        for handler in (lambda c: c.recv(1), lambda c: c.sendall(bytes(10_000_000))):
            client, conn = tcp_pair()
            result = running.start(handler, conn)
            time.sleep(0.02)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with pytest.raises(ConnectionError):
                result()


class TestTimeouts:
    def test_they_are_a_sockets(self, running: Running, pair: Both) -> None:
        """What is set is what is read; what takes longer is a TimeoutError; then it goes on."""
        client, conn = pair

        def handle(c: socket.socket) -> Any:
            assert (c.gettimeout(), c.timeout, c.getblocking()) == (None, None, True)
            c.settimeout(0.05)
            assert (c.gettimeout(), c.timeout, c.getblocking()) == (0.05, 0.05, True)
            began = time.monotonic()
            with pytest.raises(TimeoutError, match="timed out"):
                c.recv(1)
            with pytest.raises(TimeoutError):
                c.recv_into(bytearray(1))
            took = time.monotonic() - began
            c.settimeout(HANDLED)
            c.sendall(b"go")
            return took, c.recv(5)

        result = running.start(handle, conn)
        assert client.recv(2) == b"go"
        client.sendall(b"late")
        took, data = result()
        assert data == b"late"
        assert 0.1 <= took < 2

    def test_sending_has_one_for_all_of_it(self, running: Running, pair: Both) -> None:
        """A reader that takes a little now and then does not prolong it."""
        client, conn = pair

        def handle(c: socket.socket) -> float:
            c.settimeout(0.2)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                c.sendall(bytes(50_000_000))
            return time.monotonic() - began

        result = running.start(handle, conn)
        until = time.monotonic() + 1
        while time.monotonic() < until and client.recv(10_000):
            time.sleep(0.01)
        assert 0.2 <= result() < 0.9

    def test_not_to_block(self, running: Running, pair: Both) -> None:
        """It fails at once where it would wait, and works where it need not."""
        client, conn = pair

        def handle(c: socket.socket) -> bytes:
            c.setblocking(False)
            assert c.gettimeout() == 0.0
            for call in (lambda: c.recv(1), lambda: c.recv_into(bytearray(1))):
                with pytest.raises(BlockingIOError):
                    call()
            with pytest.raises(BlockingIOError):
                c.sendall(bytes(50_000_000))
            with Path("/dev/null").open("rb") as file:
                with pytest.raises(ValueError, match="non-blocking"):
                    c.sendfile(file)
            while True:
                try:
                    return c.recv(5)
                except BlockingIOError:
                    manycore.sleep(0.001)

        result = running.start(handle, conn)
        time.sleep(0.05)
        client.sendall(b"there")
        assert result() == b"there"

    @pytest.mark.parametrize("value", [-1.0, float("nan"), "soon"])
    def test_a_timeout_that_is_none(self, running: Running, pair: Both, value: Any) -> None:
        """As everywhere."""
        with pytest.raises((ValueError, TypeError)):
            running.start(lambda c: c.settimeout(value), pair[1])()


class TestEndings:
    def test_it_is_a_socket(self, running: Running, pair: Both) -> None:
        """With all that belongs to one."""
        client, conn = pair

        def handle(c: socket.socket) -> None:
            assert isinstance(c, socket.socket)
            assert c.getpeername() == client.getsockname()
            assert c.fileno() >= 0
            c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert c.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            c.shutdown(socket.SHUT_WR)

        running.start(handle, conn)()
        assert client.recv(1) == b""

    def test_a_descriptor_that_is_given_away_blocks(self, running: Running, pair: Both) -> None:
        """Whoever gets it finds it as `socket.socket` would leave it."""
        client, conn = pair
        fd = running.start(lambda c: c.detach(), conn)()
        assert os.get_blocking(fd)
        with socket.socket(fileno=fd) as again:
            again.sendall(b"still open")
            assert client.recv(20) == b"still open"

    def test_another_greenlet_closes_it(self, running: Running, pair: Both) -> None:
        """Who waits for it is told."""
        _client, conn = pair

        def handle(c: GreenConnection) -> None:
            def close() -> None:
                manycore.sleep(0.02)
                c.close()

            running.spawn(close)
            c.recv(1)

        with pytest.raises(OSError, match="Bad file descriptor"):
            running.start(handle, conn)()

    def test_another_object_for_it(self, running: Running, pair: Both) -> None:
        """`dup` gives one that waits as well."""
        client, conn = pair

        def handle(c: socket.socket) -> bytes:
            with c.dup() as other:
                c.close()
                other.sendall(b"go")
                return other.recv(10)

        result = running.start(handle, conn)
        assert client.recv(2) == b"go"
        client.sendall(b"second")
        assert result() == b"second"

    def test_another_thread_may_use_it(self, running: Running, pair: Both) -> None:
        """There it blocks the thread, and the hub runs."""
        client, conn = pair
        results: list[Any] = []

        def handle(c: socket.socket) -> None:
            def use() -> None:
                c.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    c.recv(1)
                c.settimeout(None)
                c.sendall(b"go")
                results.append(c.recv(10))
                c.sendall(bytes(3_000_000))

            thread = threading.Thread(target=use)
            thread.start()
            while thread.is_alive():
                manycore.sleep(0.005)

        result = running.start(handle, conn)
        assert client.recv(2) == b"go"
        client.sendall(b"a thread")
        missing = 3_000_000
        while missing:
            missing -= len(client.recv(100_000))
        result()
        assert results == [b"a thread"]

    def test_the_end_of_the_hub_ends_greenlets(self) -> None:
        """Their `finally` blocks run."""
        running = Running()
        client, conn = unix_pair()
        ended = threading.Event()

        def handle(c: socket.socket) -> None:
            try:
                c.recv(1)
            finally:
                ended.set()

        with client:
            running.start(handle, conn)
            running.spawn(manycore.sleep, 1000)
            running.stop()
            assert ended.is_set()


class TestTurns:
    def test_sleepers_wake_in_time(self, running: Running) -> None:
        """Each at its own; the thread itself does not sleep."""
        woken: list[int] = []

        def sleeper(number: int) -> None:
            manycore.sleep(number / 50)
            woken.append(number)

        began = time.monotonic()
        for number in (5, 1, 3, 2, 4):
            running.spawn(sleeper, number)
        eventually(lambda: len(woken) == 5, within=5)
        assert woken == [1, 2, 3, 4, 5]
        assert 0.1 <= time.monotonic() - began < 0.28  # together; one after another it is 0.3

    def test_to_sleep_for_no_time_lets_others_on(self, running: Running) -> None:
        """Whoever computes can be polite."""
        turns: list[str] = []

        def polite(name: str) -> None:
            for _ in range(3):
                turns.append(name)
                manycore.sleep(0)

        def both() -> None:
            running.spawn(polite, "a")
            running.spawn(polite, "b")

        running.hub.call(both)
        eventually(lambda: len(turns) == 6, within=5)
        assert turns == list("ababab")

    def test_to_sleep_for_less_than_no_time(self, running: Running, pair: Both) -> None:
        """As `time.sleep` says it."""
        with pytest.raises(ValueError, match="must be non-negative"):
            running.start(lambda _: manycore.sleep(-1), pair[1])()
        with pytest.raises(ValueError, match="must be non-negative"):
            manycore.sleep(-1)

    def test_a_client_that_is_always_faster(self, running: Running, pair: Both) -> None:
        """Reading from it without a pause keeps nobody else waiting."""
        client, conn = pair
        stop = threading.Event()

        def swallow(c: socket.socket) -> None:
            while c.recv(1_000_000 if stop.is_set() else 1):  # one byte: there is always another
                pass

        def flood() -> None:
            while not stop.is_set():
                client.sendall(bytes(50_000))
            client.shutdown(socket.SHUT_WR)

        result = running.start(swallow, conn)
        flooder = threading.Thread(target=flood)
        flooder.start()
        second, other = unix_pair()
        with second:
            answer = running.start(lambda c: c.sendall(c.recv(10)), other)
            second.sendall(b"me too")
            assert second.recv(10) == b"me too"
            answer()
        stop.set()
        flooder.join()
        result()

    def test_a_greenlet_that_fails_harms_no_other(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its traceback is in the log."""
        done: list[int] = []

        def fails() -> None:
            raise SystemExit(3)

        running.spawn(fails)
        running.spawn(done.append, 1)
        eventually(lambda: done, within=5)
        assert "SystemExit: 3" in caplog.text


class TestWatchdog:
    def test_it_names_the_line_that_blocks(self, caplog: pytest.LogCaptureFixture) -> None:
        """Once a place, however often."""
        running = Running(slow=0.05)

        def blocks() -> None:
            time.sleep(0.2)  # the line
            manycore.sleep(0.01)
            time.sleep(0.01)

        line = blocks.__code__.co_firstlineno + 1
        for _ in range(2):
            running.spawn(blocks)
        eventually(lambda: "keeps every other connection" in caplog.text, within=5)
        time.sleep(0.4)
        running.stop()
        said = [record.getMessage() for record in caplog.records if "keeps" in record.getMessage()]
        assert len(said) == 1
        assert said[0].startswith(f"{__file__}:{line} keeps every other connection of this worker")
        assert said[0].endswith("time.sleep(0.2)  # the line")

    def test_many_short_pieces_are_not_one_long_one(self, caplog: pytest.LogCaptureFixture) -> None:
        """A hub that is busy is not blocked."""
        running = Running(slow=0.1)
        done: list[int] = []

        def short() -> None:
            for _ in range(60):
                time.sleep(0.005)
                manycore.sleep(0)
            done.append(1)

        running.spawn(short)
        eventually(lambda: done, within=10)
        running.stop()
        assert "keeps" not in caplog.text

    @pytest.mark.parametrize("longest", [0.0, 1.0], ids=["all short", "one blocks"])
    def test_messages_that_come_at_once(
        self, caplog: pytest.LogCaptureFixture, longest: float
    ) -> None:
        """Each is a piece of work of its own, though one event loop's turn has them all."""
        running = Running(slow=0.2)
        pairs = [tcp_pair() for _ in range(40)]

        def handle(c: socket.socket) -> None:
            time.sleep(longest if c.recv(10) == b"long" else 0.01)

        results = [running.start(handle, conn) for _, conn in pairs]

        def send() -> None:
            for number, (client, _) in enumerate(pairs):
                client.sendall(b"short" if number else b"long")

        running.hub.call(send)
        for result in results:
            result()
        running.stop()
        for client, _ in pairs:
            client.close()
        said = [record.getMessage() for record in caplog.records if "keeps" in record.getMessage()]
        assert len(said) == bool(longest)
        assert all("time.sleep(longest if" in line for line in said)


# Any bytes, in any pieces, read and written in any way, come through whole and in order.

_sizes = st.integers(1, 5000)


@settings(max_examples=40)
@given(
    pieces=st.lists(st.tuples(st.binary(min_size=1, max_size=3000), st.booleans()), max_size=12),
    reads=st.lists(st.tuples(_sizes, st.sampled_from(["recv", "recv_into", "recvfrom", "peek"]))),
    tcp=st.booleans(),
)
def test_bytes_come_through(
    pieces: list[tuple[bytes, bool]], reads: list[tuple[int, str]], tcp: bool
) -> None:
    """Whatever is skipped or remembered between reads, nothing is lost and nothing hangs."""
    running = Running()
    client, conn = tcp_pair() if tcp else unix_pair()

    def handle(c: socket.socket) -> bytes:
        received = b""
        ways = iter(reads)
        while True:
            size, way = next(ways, (1000, "recv"))
            if way == "recv_into":
                buffer = bytearray(size)
                data = bytes(buffer[: c.recv_into(buffer)])
            elif way == "recvfrom":
                data = c.recvfrom(size)[0]
            else:
                if way == "peek":
                    c.recv(size, socket.MSG_PEEK)
                data = c.recv(size)
            if not data:
                return received
            received += data

    try:
        result = running.start(handle, conn)
        for piece, pause in pieces:
            client.sendall(piece)
            if pause:
                time.sleep(0.001)
        client.shutdown(socket.SHUT_WR)
        assert result() == b"".join(piece for piece, _ in pieces)
    finally:
        client.close()
        running.stop()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12))
def test_waits_end_by_whichever_comes_first(waits: list[tuple[int, int]]) -> None:
    """A wait that is woken in time says so, and one that is not ends at its deadline."""
    from manycore.server.modes.hub import Waiter

    running = Running()
    outcomes: list[tuple[int, int, bool]] = []

    def wait(timeout: int, woken_after: int) -> None:
        waiter = Waiter(running.hub)
        over: list[int] = []

        def wake() -> None:
            manycore.sleep(woken_after / 1000)
            if not over:
                waiter.wake()

        for _ in range(2):  # the second time with what the first one left behind
            running.spawn(wake)
            woken = waiter.wait(timeout / 1000)
            over.append(1)
            outcomes.append((timeout, woken_after, woken))
            manycore.sleep(0.03)
            over.clear()

    try:
        for timeout, woken_after in waits:
            running.spawn(wait, timeout, woken_after)
        eventually(lambda: len(outcomes) == 2 * len(waits), within=10)
    finally:
        running.stop()
    for timeout, woken_after, woken in outcomes:
        if abs(timeout - woken_after) > 15:  # milliseconds: what a busy machine may confuse
            assert woken is (woken_after < timeout)
