"""The parent's view of a child, whichever way it was started.

Guarantees:

* Death is an event: nothing is polled, no thread is kept.
* Any number of threads may wait at once; one of them reads and tells the others.
* A KeyboardInterrupt that ends a wait leaves the handle as it was: the only lock is taken by a
  plain `with`, which Python does not interrupt between taking the lock and entering the block, and
  what was received is kept before another can come.
* An exit code is never lost: when nobody is left who saw the child end, that is said.
* A forked copy of the parent holds nothing of its children: their lifelines stay the parent's.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from .birth import EXITED, OUTCOME, read_number
from .channel import Channel, close_all
from .conditions import poll
from .signals import CtrlCLater

UNSEEN: Final = 255  # the exit code that multiprocessing gives when nobody saw a child end

_all: weakref.WeakSet[ChildHandle] = weakref.WeakSet()


class ChildHandle:
    """One child.

    Attributes:
        pid: Its process id.
        pidfd: Readable when it has ended.
        outcome: What it delivered, without the head; None until then.
        exitcode: How it ended; None until then.
        seen: Whether somebody saw how it ended; otherwise the exit code is what it said itself,
            or `UNSEEN`.
    """

    def __init__(
        self,
        pid: int,
        pidfd: int,
        channel: Channel,
        lifeline: int,
        reap: Callable[[], int | None] | None = None,
    ) -> None:
        """Takes over a child that has reported its birth.

        Args:
            pid: Its process id.
            pidfd: Its pidfd.
            channel: Our end of its channel.
            lifeline: The write end: closing it, by our death too, ends a child that is tied.
            reap: Takes the exit code of a child of this very process, which has ended; None when
                the template says it.
        """
        self.pid = pid
        self.pidfd = pidfd
        self.outcome: bytes | None = None
        self.exitcode: int | None = None
        self.seen = False
        self._said = UNSEEN
        self._channel = channel
        self._silent = False  # the channel has ended
        self._lifeline = lifeline
        self._reap = reap
        self._lock = threading.Lock()
        self._told = -1  # an eventfd, once somebody waits: readable when the outcome was taken in
        _all.add(self)

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits until the child has ended; gives the exit code, or None after `timeout` seconds."""
        self._await(lambda: self.exitcode is not None, timeout)
        return self.exitcode

    def wait_for_outcome(self, timeout: float | None = None) -> bool:
        """Waits until the child has delivered or ended; False after `timeout` seconds."""
        return self._await(lambda: self.outcome is not None or self.exitcode is not None, timeout)

    def send_signal(self, signum: int) -> None:
        """Sends a signal; to a child that has ended, nothing. The id cannot be another's."""
        if self.exitcode is None and self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signum)  # type: ignore[attr-defined,unused-ignore]

    def close(self) -> None:
        """Lets go of everything; a child that is tied and still alive ends. Twice is once."""
        _all.discard(self)
        fds = [self.pidfd, self._lifeline, self._told]
        self.pidfd = self._lifeline = self._told = -1
        self._channel.close()
        close_all([fd for fd in fds if fd >= 0])

    def _await(self, done: Callable[[], bool], timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            if self.pidfd < 0:  # closed, or a copy's: there will be no news
                return False
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._news(left)
            with self._lock:
                if not done():
                    self._take_in(ready)
            if not ready:
                return done()
        return True

    def _news(self, timeout: float | None) -> set[int]:
        """Waits for news; gives the descriptors that have some. Any number of threads may wait."""
        poller = select.poll()
        with self._lock:
            if self._told < 0 and self.outcome is None and timeout != 0:
                with CtrlCLater():
                    self._told = os.eventfd(0, os.EFD_CLOEXEC)
            # once the outcome is there, only the end is waited for
            told = -1 if self.outcome is not None else self._told
            heard = -1 if self._silent else self._channel.fileno()
            for fd in (self.pidfd, heard, told):
                if fd >= 0:
                    poller.register(fd, select.POLLIN)
        return {fd for fd, _ in poll(poller, timeout)}

    def _take_in(self, ready: set[int]) -> None:
        has_ended = self.pidfd in ready
        if has_ended and self._reap is None:
            self._hear_out()
        with CtrlCLater():
            if not self._silent and self._channel.fileno() in ready:
                self._take()
            if has_ended and self.exitcode is None:
                self._conclude()
            if self.exitcode is not None:
                self._hang_up()

    def _hear_out(self) -> None:
        """The child has ended: the template, which saw how, says so now, or is gone."""
        while not self._silent and self.exitcode is None:
            self._channel.wait()
            with CtrlCLater():
                self._take()

    def _take(self) -> bool:
        """Takes one message in; False when there is none."""
        try:
            message, fds = self._channel.receive(wait=False)
        except BlockingIOError:
            return False
        except OSError:  # no room for descriptors that nobody should have sent
            return True
        except EOFError:
            self._silent = True
            return False
        close_all(fds)
        if message[:1] == OUTCOME:
            self._said = read_number(message)
            self.outcome = message
            if self._told >= 0:  # the others who wait would not find it in the channel
                os.eventfd_write(self._told, 1)
        elif message[:1] == EXITED:
            self.exitcode, self.seen = read_number(message), True
        return True

    def _conclude(self) -> None:
        """The child has ended, and nobody else says how."""
        while not self._silent and self._take():
            pass
        code = self._reap() if self._reap is not None else None
        self.seen = code is not None
        self.exitcode = self._said if code is None else code

    def _hang_up(self) -> None:
        """Nothing will come any more: only the pidfd is kept, which callers may wait on."""
        fds, self._silent = [self._lifeline, self._told], True
        self._lifeline = self._told = -1
        self._channel.close()
        close_all([fd for fd in fds if fd >= 0])


def _forget_all() -> None:
    for handle in list(_all):
        handle.close()


os.register_at_fork(after_in_child=_forget_all)
