"""Signals as a queue, with real signals, and everything as it was afterwards."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from eventually import eventually
from manycore.base import descriptors
from manycore.base.signals import Inbox, blocked, captured, ignore

USR1, USR2, HUP, TERM = signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM

# before a fork Python warns of the thread that watches over pytest's time
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def send(*signums: signal.Signals) -> None:
    """Sends signals to this thread: another one that does not block them might take them."""
    for signum in signums:
        signal.pthread_kill(threading.get_ident(), signum)


def mask() -> set[signal.Signals]:
    return {signal.Signals(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, ())}


def wakeup() -> int:
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def is_readable(inbox: Inbox) -> bool:
    return bool(select.select([inbox], [], [], 0)[0])


@contextmanager
def handling(signum: signal.Signals, handler: signal.Handlers) -> Iterator[None]:
    before = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


@contextmanager
def waking() -> Iterator[int]:
    """What an event loop around the block does; gives its wake-up descriptor."""
    reader, writer = descriptors.pipe()
    before = signal.set_wakeup_fd(writer)
    try:
        yield writer
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


class TestCaptured:
    def test_signals_come_in_order(self) -> None:
        """Those that came since the last look, first come, first taken."""
        with captured(USR1, USR2, HUP) as inbox:
            assert inbox.take() == []
            send(USR2, USR1)
            assert inbox.take() == [USR2, USR1]
            assert inbox.take() == []
            send(HUP)
            assert inbox.take() == [HUP]

    def test_who_reacts_is_called_before(self) -> None:
        """Once a signal, and only for the signal that was asked for; all are there as before."""
        called: list[int] = []
        with captured(USR1, USR2) as inbox:
            inbox.react(USR1, lambda: called.append(1))
            send(USR2, USR1, USR1)
            assert called == []
            assert inbox.take() == [USR2, USR1, USR1]
        assert called == [1, 1]

    def test_each_of_many_is_there(self) -> None:
        """A signal that is sent ten times and handled in between is there ten times."""
        with captured(USR1, USR2) as inbox:
            for _ in range(10):
                send(USR1, USR2)
            assert inbox.take() == [USR1, USR2] * 10

    def test_the_descriptor_says_when_there_are_some(self) -> None:
        """It becomes readable with a signal, and stops being so when all are taken."""
        with captured(USR1) as inbox:
            assert not is_readable(inbox)
            send(USR1)
            assert is_readable(inbox)
            inbox.take()
            assert not is_readable(inbox)

    def test_a_wait_is_ended_by_a_signal(self) -> None:
        """A signal that comes during the wait wakes it up, and is there to be taken."""
        with captured(signal.SIGCHLD) as inbox:
            pid = os.posix_spawn("/bin/sleep", ["sleep", "0.05"], os.environ)
            assert select.select([inbox], [], [], 10)[0]
            assert inbox.take() == [signal.SIGCHLD]
            os.waitpid(pid, 0)

    def test_other_signals_are_not_ours(self) -> None:
        """A program's own handler runs as before, and its signal does not get into the inbox."""
        ran = []
        before = signal.signal(USR2, lambda signum, _frame: ran.append(signum))
        try:
            with captured(USR1) as inbox:
                send(USR2, USR1)
                assert inbox.take() == [USR1]
            assert ran == [USR2]
        finally:
            signal.signal(USR2, before)

    def test_a_blocked_signal_is_let_in(self) -> None:
        """What the caller blocked waits no longer, and is blocked again afterwards."""
        with blocked([USR1]):
            send(USR1)
            with captured(USR1) as inbox:
                assert inbox.take() == [USR1]
                assert USR1 not in mask()
            assert USR1 in mask()

    def test_more_can_be_captured(self) -> None:
        """Later, in the block; all of it is as before afterwards. None at first is fine."""
        with captured() as inbox:
            assert wakeup() == -1
            inbox.capture(USR1)
            inbox.capture(USR1, USR2)
            send(USR2, USR1)
            assert inbox.take() == [USR2, USR1]
        assert [signal.getsignal(signum) for signum in (USR1, USR2)] == [signal.SIG_DFL] * 2
        assert wakeup() == -1

    def test_a_full_inbox_blocks_nobody(self) -> None:
        """A pipe that nobody reads swallows what it holds; the rest has been said already."""
        with captured(USR1) as inbox:
            os.write(inbox.writer, bytes([USR2]) * 65_536)
            send(USR1)
            while is_readable(inbox):
                assert inbox.take() == []
            send(USR1)
            assert inbox.take() == [USR1]


class TestRestored:
    @pytest.mark.parametrize("leave", ["normally", "by an exception"])
    @pytest.mark.parametrize(
        "handler", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, ignore]
    )
    def test_handlers(self, handler: signal.Handlers, leave: str) -> None:
        """Whatever they were and however the block is left."""
        with handling(USR1, handler), handling(USR2, signal.SIG_IGN):
            try:
                with captured(USR1, USR2):
                    assert signal.getsignal(USR1) is ignore
                    assert signal.getsignal(USR2) is ignore
                    if leave != "normally":
                        raise LookupError
            except LookupError:
                pass
            assert signal.getsignal(USR1) is handler
            assert signal.getsignal(USR2) is signal.SIG_IGN

    @pytest.mark.parametrize("leave", ["normally", "by an exception"])
    @pytest.mark.parametrize("before", [set(), {USR1}, {USR2}, {USR1, USR2}])
    def test_the_mask(self, before: set[signal.Signals], leave: str) -> None:
        """Also where the block itself changed it."""
        with blocked(before):
            masked = mask()
            try:
                with captured(USR1):
                    signal.pthread_sigmask(signal.SIG_BLOCK, [HUP])
                    if leave != "normally":
                        raise LookupError
            except LookupError:
                pass
            assert mask() == masked

    @pytest.mark.parametrize("leave", ["normally", "by an exception"])
    def test_the_wakeup_descriptor(self, leave: str) -> None:
        """An event loop around the block finds its own again."""
        with waking() as writer:
            try:
                with captured(USR1) as inbox:
                    assert wakeup() == inbox.writer
                    if leave != "normally":
                        raise LookupError
            except LookupError:
                pass
            assert wakeup() == writer

    def test_blocks_in_blocks(self) -> None:
        """The inner takes, then the outer again, and nothing of either is left."""
        with captured(USR1) as outer:
            with captured(USR1, USR2) as inner:
                send(USR1)
                assert (inner.take(), outer.take()) == ([USR1], [])
            send(USR1)
            assert outer.take() == [USR1]
            assert signal.getsignal(USR2) is signal.SIG_DFL
        assert signal.getsignal(USR1) is signal.SIG_DFL

    def test_naming_a_signal_twice(self) -> None:
        """It is restored to what it was before the block, not to what it was in between."""
        assert signal.getsignal(USR1) is signal.SIG_DFL
        try:
            with captured(USR1, USR1):
                pass
            assert signal.getsignal(USR1) is signal.SIG_DFL
        finally:
            signal.signal(USR1, signal.SIG_DFL)

    def test_what_cannot_be_captured_leaves_all_as_it_was(self) -> None:
        """KILL cannot be handled: the error says so, and the rest is untouched."""
        masked, open_before = mask(), set(os.listdir("/proc/self/fd"))
        try:
            with pytest.raises(OSError, match="Invalid argument"):
                with captured(USR1, signal.SIGKILL):
                    pass
            assert mask() == masked
            assert signal.getsignal(USR1) is signal.SIG_DFL
            assert set(os.listdir("/proc/self/fd")) == open_before
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            signal.signal(USR1, signal.SIG_DFL)


def in_child(look: Callable[[], bool], told: signal.Signals | None = None) -> int:
    """Forks, and gives the exit code of a child that exits with 0 when what it sees is right.

    It may be told something as soon as it is there.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(10)
            code = 0 if look() else 1
        finally:
            os._exit(code)
    if told is not None:
        os.kill(pid, told)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def dies() -> bool:
    send(TERM)
    return False


def rests() -> bool:
    signal.pause()
    return False


@forks
class TestForked:
    def test_a_child_is_its_own(self) -> None:
        """A signal acts in it as it did before the block, and the parent hears nothing of it."""
        with captured(TERM, USR1) as inbox:
            assert in_child(dies) == -TERM
            assert inbox.take() == []
            send(TERM)
            assert inbox.take() == [TERM]

    @pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, ignore])
    def test_all_is_as_before_the_block(self, handler: signal.Handlers) -> None:
        """Handlers, descriptor and mask, also where blocks are in blocks."""
        masked, written_to = mask(), wakeup()

        def look() -> bool:
            handlers = [signal.getsignal(USR1), signal.getsignal(USR2)]
            is_as_before = handlers == [handler, signal.SIG_DFL] and wakeup() == written_to
            return is_as_before and mask() == masked

        with handling(USR1, handler), captured(USR1), captured(USR1, USR2):
            assert in_child(look) == 0
            assert mask() == masked
            assert signal.getsignal(USR1) is ignore

    def test_its_signals_can_act_as_in_a_new_program(self) -> None:
        """Whatever the program had made of them, an event loop's descriptor too."""

        def look() -> bool:
            inbox.use_defaults()
            return signal.getsignal(USR1) is signal.SIG_DFL and wakeup() == -1

        with waking(), handling(USR1, signal.SIG_IGN), captured(USR1) as inbox:
            assert in_child(look) == 0

    def test_a_child_of_another_thread(self) -> None:
        """It is as one of the main thread; a child that leaves the block does no harm."""
        codes: list[int] = []
        with captured(TERM) as inbox:
            thread = threading.Thread(target=lambda: codes.append(in_child(dies)))
            thread.start()
            thread.join()
            assert codes == [-TERM]
            assert inbox.take() == []

    def test_a_child_that_leaves_the_block(self) -> None:
        """It ends as usual, and so does the parent's."""
        pid, code = -1, 1
        try:
            with captured(USR1) as inbox:
                pid = os.fork()
                if pid:
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    send(USR1)
                    assert inbox.take() == [USR1]
            if pid == 0:
                code = 0 if signal.getsignal(USR1) is signal.SIG_DFL and wakeup() == -1 else 1
        finally:
            if pid == 0:
                os._exit(code)
        assert code == 0

    def test_a_child_of_a_child(self) -> None:
        """It captures for itself, and what it forks is its own as well."""

        def look() -> bool:
            with captured(TERM) as inbox:
                code = in_child(dies)
                return code == -TERM and inbox.take() == []

        with captured(TERM) as inbox:
            assert in_child(look) == 0
            assert inbox.take() == []

    def test_a_signal_that_comes_at_once(self) -> None:
        """Sent as soon as there is a child, it is the child's: however often that is tried."""
        with captured(TERM) as inbox:
            for _ in range(200):
                assert in_child(rests, told=TERM) == -TERM
            assert inbox.take() == []

    def test_a_child_closes_the_pipe(self) -> None:
        """Nothing of the parent's inbox stays open in the child, and the parent's stays open."""
        with captured(USR1) as inbox:
            ends = (inbox.fileno(), inbox.writer)
            assert in_child(lambda: not any(is_open(fd) for fd in ends)) == 0
            send(USR1)
            assert inbox.take() == [USR1]

    def test_what_waits_in_the_parent_stays_there(self) -> None:
        """A child takes nothing out of the pipe."""
        with captured(USR1) as inbox:
            send(USR1)
            assert in_child(lambda: True) == 0
            assert inbox.take() == [USR1]


class TestBlocked:
    def test_signals_wait(self) -> None:
        """A signal that comes inside the block is handled when it is left."""
        with captured(USR1) as inbox:
            with blocked([USR1]):
                send(USR1)
                assert inbox.take() == []
                assert USR1 in signal.sigpending()
            assert eventually(inbox.take, within=5) == [USR1]

    def test_the_mask_is_restored(self) -> None:
        """Also by an exception, and to what it was, not to nothing."""
        with blocked([USR2]):
            masked = mask()
            with pytest.raises(LookupError):
                with blocked([USR1, USR2]):
                    assert {USR1, USR2} <= mask()
                    raise LookupError
            assert mask() == masked
        assert USR2 not in mask()
