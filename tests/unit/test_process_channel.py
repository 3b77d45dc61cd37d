"""The channel between two processes."""

from __future__ import annotations

import os
import resource
import threading

import pytest

from manycore.base.channel import INLINE_BYTES, MOST_DESCRIPTORS, Channel, close_all


class TestChannel:
    @pytest.mark.parametrize("size", [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 3_000_000])
    def test_a_message_of_any_size(self, size: int) -> None:
        """What is sent arrives whole, and sending does not wait for a reader."""
        data = os.urandom(size)
        ours, theirs = Channel.pair()
        with ours, theirs:
            ours.send(data)
            assert theirs.receive() == (data, [])

    def test_both_ways_and_in_order(self) -> None:
        """Either end sends, and messages keep their order and their borders."""
        ours, theirs = Channel.pair()
        with ours, theirs:
            for word in (b"a", b"bb" * INLINE_BYTES, b"ccc"):
                ours.send(word)
                theirs.send(word[:1])
            assert [len(theirs.receive().data) for _ in range(3)] == [1, 2 * INLINE_BYTES, 3]
            assert [ours.receive().data for _ in range(3)] == [b"a", b"b", b"c"]

    @pytest.mark.parametrize("size", [5, INLINE_BYTES + 5])
    def test_descriptors_go_along(self, size: int) -> None:
        """Descriptors arrive in order, closed on exec, for the receiver to close."""
        ours, theirs = Channel.pair()
        reader, writer = os.pipe()
        with ours, theirs:
            ours.send(b"x" * size, [writer, reader])
            data, fds = theirs.receive()
            assert len(data) == size
            os.write(fds[0], b"through")
            assert os.read(fds[1], 10) == b"through"
            assert not any(map(os.get_inheritable, fds))
        close_all([*fds, reader, writer])

    def test_too_many_descriptors(self) -> None:
        """More than a message takes is refused before anything is sent."""
        ours, theirs = Channel.pair()
        with ours, theirs:
            with pytest.raises(ValueError, match="251 descriptors"):
                ours.send(b"", [0] * (MOST_DESCRIPTORS + 1))
            with pytest.raises(BlockingIOError):
                theirs.receive(wait=False)

    def test_no_room_for_descriptors(self) -> None:
        """A receiver at its limit gets an error, not fewer descriptors, and leaks none."""
        ours, theirs = Channel.pair()
        with ours, theirs:
            ours.send(b"x", [0, 0, 0])
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            before = sorted(os.listdir("/proc/self/fd"))
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (theirs.fileno() + 2, hard))
                with pytest.raises(OSError, match="no room for the descriptors"):
                    theirs.receive()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert len(os.listdir("/proc/self/fd")) == len(before)

    def test_the_end(self) -> None:
        """The end is seen after the last message, again and again; sending to it is an error."""
        ours, theirs = Channel.pair()
        with ours:
            with theirs:
                theirs.send(b"last")
            assert ours.receive().data == b"last"
            for _ in range(2):
                with pytest.raises(EOFError):
                    ours.receive()
            with pytest.raises(BrokenPipeError):
                ours.send(b"x")

    def test_an_end_that_left_a_message_unread(self) -> None:
        """An end that is closed with something unread in it is an end like any other."""
        ours, theirs = Channel.pair()
        with ours:
            ours.send(b"never read")
            theirs.close()
            with pytest.raises(EOFError):
                ours.receive()

    def test_refuse(self) -> None:
        """After a refusal nothing more can be sent here; what was sent can be received."""
        ours, theirs = Channel.pair()
        with ours, theirs:
            theirs.send(b"before")
            ours.refuse()
            with pytest.raises(BrokenPipeError):
                theirs.send(b"after")
            assert ours.receive(wait=False).data == b"before"

    def test_several_writers(self) -> None:
        """Messages of several threads do not mix."""
        ours, theirs = Channel.pair()
        with ours, theirs:

            def write(number: int) -> None:
                for _ in range(50):
                    ours.send(bytes([number]) * 1000)

            threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            received = [theirs.receive().data for _ in range(200)]
            for thread in threads:
                thread.join()
            assert all(len(data) == 1000 and len(set(data)) == 1 for data in received)

    def test_a_full_channel(self) -> None:
        """Without waiting, a full channel says so."""
        ours, theirs = Channel.pair()

        def fill() -> None:
            for _ in range(1000):
                ours.send(bytes(INLINE_BYTES), wait=False)

        with ours, theirs, pytest.raises(BlockingIOError):
            fill()
