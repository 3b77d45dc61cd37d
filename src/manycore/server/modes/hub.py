"""The hub: greenlets that wait, and one loop that wakes them. One thread.

Guarantees: a greenlet that waits costs the hub nothing; nobody is woken without a reason, and a
reason is never missed; with nothing to wait for but connections, the hub sleeps in the kernel.

Rules: only `Waiter.wait`, `Hub.sleep` and `Hub.step_aside` leave a greenlet, and they return in it.
Descriptors are watched edge-triggered (man 7 epoll): the kernel tells once that something came, and
the connection remembers it until it has read all of it.

Who waits for bytes looks itself who is next, and lets that run: a way by the root would be two
switches. All else is the root's: it runs between two lots of events.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import length_hint
from typing import Any, Final, Protocol

from greenlet import GreenletExit, getcurrent, greenlet

from manycore.base import stacks
from manycore.base.doorbell import Doorbell
from manycore.server.sleeping import here

from . import edges
from .waiting import find_greenlets
from .watchdog import Watchdog

log = logging.getLogger("manycore.server")

NEVER: Final = float("inf")
_BATCH: Final = 1024  # events a system call
_BYTES: Final = edges.READABLE  # and nothing else
_ENDS: Final = edges.ENDS
_READABLE: Final = _BYTES | _ENDS
_WRITABLE: Final = edges.WRITABLE


class Waiter:
    """Where greenlets wait for one thing: bytes, room for bytes, or a time.

    Attributes:
        ready: It has come since it was last found missing.
        over: No more edge may come, so that only the system call itself can tell.
        waiting: The greenlet that waits.
        others: Further greenlets wait for the same.
    """

    __slots__ = ("_alarm", "_deadline", "_hub", "others", "over", "ready", "waiting")

    def __init__(self, hub: Hub, *, ready: bool = False, over: bool = False) -> None:
        self._hub = hub
        self.ready = ready
        self.over = over
        self.waiting: greenlet | None = None
        self.others: deque[Waiter] | None = None
        self._deadline = NEVER
        self._alarm = NEVER  # when the hub will look at it; it looks at each alarm once

    def wait(self, timeout: float | None = None) -> bool:
        """Lets others run until it is woken.

        Args:
            timeout: Seconds at most.

        Returns:
            False when that is why it returned.
        """
        if self.waiting is not None:
            return self._wait_beside(timeout)
        if timeout is not None:
            self._deadline = time.monotonic() + timeout
            if self._alarm > self._deadline:
                self._alarm = self._deadline
                self._hub.set_alarm(self._deadline, self)
        self.waiting = getcurrent()
        try:
            late = self._hub.next().switch()  # nothing is passed, but by `ring`
        finally:
            self.waiting = None
            self._deadline = NEVER
        return not late

    def wake(self) -> None:
        """Lets whoever waits run, now; called by the hub."""
        if self.waiting is not None:
            self.waiting.switch()
        if self.others:
            others, self.others = self.others, None
            for waiter in others:
                waiter.wake()

    def ring(self, alarm: float) -> None:
        """Is called by the hub when an alarm's time has come, be it still wanted or not."""
        if alarm != self._alarm:
            return  # a later one replaced an earlier deadline's
        self._alarm = NEVER
        if self.waiting is None or self._deadline == NEVER:
            return
        if self._deadline <= alarm:
            self.waiting.switch(True)
        else:  # what it was set for is done, and the next wait goes on for longer
            self._alarm = self._deadline
            self._hub.set_alarm(self._deadline, self)

    def _wait_beside(self, timeout: float | None) -> bool:
        waiter = Waiter(self._hub)
        if self.others is None:
            self.others = deque()
        self.others.append(waiter)
        return waiter.wait(timeout)


class Watched(Protocol):
    """What has a descriptor that the hub watches."""

    reading: Waiter
    writing: Waiter

    def fileno(self) -> int:
        """The descriptor."""


class Hub:
    """Runs greenlets, in the thread that calls `run`.

    Args:
        slow: Seconds after which the log says who keeps all others from running; 0: never.
    """

    def __init__(self, slow: float) -> None:
        self.root: greenlet
        self.thread = 0  # its identifier, once it runs
        self._watched: list[Watched | None] = []  # by descriptor
        self._events: Iterator[tuple[int, int]] = iter(())  # that came and were not looked at yet
        self._due: deque[Waiter] = deque()  # for whom the root has to look
        self._edges = edges.edges(self._watched)
        self._wake = Doorbell()
        self._make_room(self._wake.fileno())
        self._edges.register(self._wake.fileno(), _BYTES)
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = self._rung = False
        self._alarms: list[tuple[float, int, Waiter]] = []
        self._alarm_number = 0
        self._stepped_aside: deque[greenlet] = deque()
        self._living: set[greenlet] = set()
        stacks.also(partial(find_greenlets, self._living))
        self._watchdog = Watchdog(slow, lambda: length_hint(self._events))
        self._closing = False

    # From any thread.

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Calls something in the hub's thread, soon. It must not wait."""
        self._calls.append((function, arguments))
        if not self._woken:
            self._woken = True
            self._wake.ring()

    def stop(self) -> None:
        """Ends every greenlet, and then `run`."""
        self.call(self._stop)

    # In the hub's thread.

    def run(self) -> None:
        """Lets greenlets run until it is stopped."""
        self.root = root = getcurrent()
        self.thread = threading.get_ident()
        here.hub = self
        dog = self._watchdog
        dog.start(self.thread)
        poll = self._edges.poll
        while not self._closing:
            events = poll(self._patience(), _BATCH)
            dog.work += 1
            if dog.asleep:
                dog.awake()
            self._events = iter(events)
            while (one := self.next()) is not root:
                one.switch()
            if self._due:
                self._wake_due()
            if self._rung:
                self._take_calls()
            if self._stepped_aside:
                self._let_them_on()
            if self._alarms:
                self._ring()
            dog.work += 1
        self._close()

    def next(self) -> greenlet:
        """Finds whom the next event wakes: the hot path. The root, when there are no more."""
        watched = self._watched
        for fd, what in self._events:
            one = watched[fd]
            if one is None:  # the bell, or what was forgotten meanwhile
                if fd == self._wake.fileno():
                    self._rung = True
                continue
            side = one.reading
            if what != _BYTES or side.others:
                self._leave_to_root(one, what)
                continue
            side.ready = True
            found = side.waiting
            if found is not None:
                return found
        return self.root

    def _make_room(self, fd: int) -> None:
        self._watched += [None] * (fd + 1 - len(self._watched))

    def _leave_to_root(self, one: Watched, what: int) -> None:
        """Notes an event that may wake more than one greenlet."""
        if what & _READABLE:
            side = one.reading
            side.ready = True
            if what & _ENDS:
                side.over = True
            self._due.append(side)
        if what & _WRITABLE:
            one.writing.ready = True
            self._due.append(one.writing)

    def spawn(self, function: Callable[[Any], None], argument: Any) -> None:
        """Starts a greenlet: now, or, when a greenlet calls this, when that waits."""
        if getcurrent() is not self.root:
            self.call(self.spawn, function, argument)
            return
        one = greenlet(self._live)
        self._living.add(one)
        one.switch(function, argument)

    def watch(self, fd: int, one: Watched) -> None:
        """Wakes a connection's readers when its descriptor becomes readable."""
        self._make_room(fd)
        self._watched[fd] = one
        self._edges.register(fd, edges.INTEREST)

    def watch_room(self, fd: int) -> None:
        """Wakes its writers too, once there is room; to be called before each wait for it.

        Few ever wait for it, and who is told of it with each message has more to look at.
        """
        self._edges.modify(fd, edges.INTEREST_IN_ROOM)

    def forget(self, fd: int, one: Watched) -> None:
        """Watches a descriptor no more; to be called before it is closed."""
        if self._watched[fd] is one:
            self._watched[fd] = None

    def unwatch(self, fd: int) -> None:
        """Takes a descriptor that stays open out of the kernel's list."""
        self._edges.unregister(fd)

    def set_alarm(self, when: float, waiter: Waiter) -> None:
        """Calls `waiter.ring` at a time of the monotonic clock."""
        self._alarm_number += 1  # no two waiters are compared
        heapq.heappush(self._alarms, (when, self._alarm_number, waiter))

    def sleep(self, seconds: float) -> None:
        """Lets others run for some seconds; with 0, once.

        Raises:
            ValueError: When it is below 0.
        """
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        if seconds:
            Waiter(self).wait(seconds)
        else:
            self.step_aside()

    def step_aside(self) -> None:
        """Lets everybody else who can run do so first."""
        self._stepped_aside.append(getcurrent())
        self.root.switch()

    def _live(self, function: Callable[[Any], None], argument: Any) -> None:
        try:
            function(argument)  # not `*arguments`: that is half a kB more of stack for each
        except GreenletExit:
            pass
        except BaseException:
            log.exception("a greenlet failed")
        finally:
            self._living.discard(getcurrent())

    def _patience(self) -> float | None:
        if self._stepped_aside:
            return 0.0
        if self._alarms:
            return max(0.0, self._alarms[0][0] - time.monotonic())
        return None

    def _wake_due(self) -> None:
        while self._due:
            self._watchdog.work += 2
            self._due.popleft().wake()

    def _take_calls(self) -> None:
        self._rung = False
        self._wake.hear()
        self._woken = False
        while self._calls:
            self._watchdog.work += 2
            function, arguments = self._calls.popleft()
            function(*arguments)

    def _let_them_on(self) -> None:
        for _ in range(len(self._stepped_aside)):
            self._watchdog.work += 2
            self._stepped_aside.popleft().switch()

    def _ring(self) -> None:
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            self._watchdog.work += 2
            when, _, waiter = heapq.heappop(self._alarms)
            waiter.ring(when)

    def _stop(self) -> None:
        self._closing = True

    def _close(self) -> None:
        for one in list(self._living):
            one.throw(GreenletExit)  # its `finally` blocks run; where it waits again, it stays
        here.hub = None
        self._watchdog.stop()
        self._edges.close()
        self._wake.close()
