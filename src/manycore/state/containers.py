"""The containers of a manager: found by a name, or made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from . import proxy
from .barriers import Barrier, action_bytes
from .channel import BUFFER, Channel
from .conditions import Condition
from .deques import DequeProxy
from .encoding import encode_key
from .events import Event
from .items import prepare as prepare_items
from .lists import ListProxy
from .locks import Lock, RLock
from .mappings import DictProxy, as_items
from .namespaces import Namespace
from .priority import PriorityQueue
from .queues import JoinableQueue, Queue, SimpleQueue
from .scalars import ArrayProxy, Counter, ValueProxy, array_of, value_bytes
from .semaphores import BoundedSemaphore, Semaphore
from .sequences import as_index
from .sequences import prepare as prepare_values
from .sets import SetProxy
from .store import Store

_Q = TypeVar("_Q", bound=Queue)
_S = TypeVar("_S", bound=Semaphore)


class Containers:
    """A method for each kind of container; `Manager` inherits them."""

    _store: Store

    def list(self, *args: Any, name: str | None = None) -> ListProxy:
        """Gives the list of a name, or makes one.

        Args:
            args: A name, if it is text; and what a new list begins with.
            name: The name, where that reads better.
        """
        name, args = _named(name, args, most=1)
        data = prepare_values(self._store, *args) if args else []
        return proxy.create(self._store, ListProxy, name, {}, data)

    def dict(self, *args: Any, **kwargs: Any) -> DictProxy:
        """Gives the dict of a name, or makes one.

        Args:
            args: A name, if it is text; and what a new dict begins with, as `dict` takes it.
            kwargs: Items, as `dict` takes them.
        """
        name, args = _named(None, args, most=1)
        items = prepare_items(self._store, as_items(args, kwargs))
        return proxy.create(self._store, DictProxy, name, {}, items)

    def set(self, *args: Any, name: str | None = None) -> SetProxy:
        """Gives the set of a name, or makes one.

        Args:
            args: A name, if it is text; and what a new set begins with.
            name: The name, where that reads better.
        """
        name, args = _named(name, args, most=1)
        items = {
            key: exact for item in (args[0] if args else ()) for key, exact in [encode_key(item)]
        }
        return proxy.create(self._store, SetProxy, name, {}, items)

    def deque(self, *args: Any, maxlen: int | None = None, name: str | None = None) -> DequeProxy:
        """Gives the deque of a name, or makes one.

        Args:
            args: A name, if it is text; and what a new deque begins with.
            maxlen: How many items it holds at most.
            name: The name, where that reads better.
        """
        name, args = _named(name, args, most=2)
        if len(args) > 1:
            maxlen = args[1]
        if maxlen is not None and maxlen < 0:
            raise ValueError("maxlen must be non-negative")
        data = prepare_values(self._store, args[0]) if args else []
        if maxlen is not None:
            data = data[max(0, len(data) - maxlen) :]
        return proxy.create(self._store, DequeProxy, name, {"maxlen": maxlen}, data)

    def Namespace(self, *args: Any, **kwargs: Any) -> Namespace:  # noqa: N802  # the usual name
        """Gives the namespace of a name, or makes one, with attributes to begin with."""
        name, args = _named(None, args, most=0)
        items = prepare_items(self._store, kwargs)
        return proxy.create(self._store, Namespace, name, {}, items)

    def Value(  # noqa: N802  # the usual name
        self,
        typecode: Any,
        value: Any,
        lock: bool = True,  # noqa: ARG002, FBT001, FBT002  # as the standard library has it
        *,
        name: str | None = None,
    ) -> ValueProxy:
        """Gives the value of a name, or makes one.

        Args:
            typecode: Kept, and not enforced, as the standard library's manager has it.
            value: What a new one holds.
            lock: Ignored, as there.
            name: The name.
        """
        data = value_bytes(self._store, value)
        return proxy.create(self._store, ValueProxy, name, {"typecode": typecode}, data)

    def Array(  # noqa: N802  # the usual name
        self,
        typecode: str,
        sequence: Any,
        lock: bool = True,  # noqa: ARG002, FBT001, FBT002  # as the standard library has it
        *,
        name: str | None = None,
    ) -> ArrayProxy:
        """Gives the array of a name, or makes one.

        Args:
            typecode: As `array.array` takes it.
            sequence: The numbers of a new one, or how many zeros.
            lock: Ignored, as in the standard library's manager.
            name: The name.
        """
        numbers = array_of(typecode, sequence)
        return proxy.create(self._store, ArrayProxy, name, {"typecode": typecode}, numbers)

    def counter(self, name: str | None = None, value: int = 0) -> Counter:
        """Gives the counter of a name, or makes one that begins with a value."""
        return proxy.create(self._store, Counter, name, {}, value)

    def Queue(self, *args: Any, maxsize: int = 0, name: str | None = None) -> Queue:  # noqa: N802
        """Gives the queue of a name, or makes one.

        Args:
            args: A name, if it is text; and `maxsize`.
            maxsize: How many items it holds at most; 0: any number.
            name: The name, where that reads better.
        """
        return self._queue(Queue, name, args, maxsize)

    def JoinableQueue(  # noqa: N802
        self, *args: Any, maxsize: int = 0, name: str | None = None
    ) -> JoinableQueue:
        """Gives a queue as `Queue` does, by its other usual name."""
        return self._queue(JoinableQueue, name, args, maxsize)

    def PriorityQueue(  # noqa: N802
        self, *args: Any, maxsize: int = 0, name: str | None = None
    ) -> PriorityQueue:
        """Gives the priority queue of a name, or makes one; arguments as for `Queue`."""
        return self._queue(PriorityQueue, name, args, maxsize)

    def SimpleQueue(self, name: str | None = None) -> SimpleQueue:  # noqa: N802
        """Gives the simple queue of a name, or makes one."""
        return self._queue(SimpleQueue, name, (), 0)

    def _queue(self, cls: type[_Q], name: str | None, args: Any, maxsize: int) -> _Q:
        name, args = _named(name, args, most=1)
        facts = {"maxsize": as_index(args[0] if args else maxsize, "maxsize")}
        return proxy.create(self._store, cls, name, facts)

    def Lock(self, name: str | None = None) -> Lock:  # noqa: N802
        """Gives the lock of a name, or makes one."""
        return proxy.create(self._store, Lock, name, {})

    def RLock(self, name: str | None = None) -> RLock:  # noqa: N802
        """Gives the re-entrant lock of a name, or makes one."""
        return proxy.create(self._store, RLock, name, {})

    def Semaphore(self, *args: Any, value: int = 1, name: str | None = None) -> Semaphore:  # noqa: N802
        """Gives the semaphore of a name, or makes one.

        Args:
            args: A name, if it is text; and the value.
            value: How many permits there are.
            name: The name, where that reads better.
        """
        return self._semaphore(Semaphore, name, args, value)

    def BoundedSemaphore(  # noqa: N802
        self, *args: Any, value: int = 1, name: str | None = None
    ) -> BoundedSemaphore:
        """Gives the bounded semaphore of a name, or makes one; arguments as for `Semaphore`."""
        return self._semaphore(BoundedSemaphore, name, args, value)

    def _semaphore(self, cls: type[_S], name: str | None, args: Any, value: int) -> _S:
        name, args = _named(name, args, most=1)
        value = as_index(args[0] if args else value, "value")
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        bound = value if cls is BoundedSemaphore else None
        return proxy.create(self._store, cls, name, {}, value, bound)

    def Event(self, name: str | None = None) -> Event:  # noqa: N802
        """Gives the event of a name, or makes one."""
        return proxy.create(self._store, Event, name, {})

    def Condition(self, lock: Any = None, *, name: str | None = None) -> Condition:  # noqa: N802
        """Gives the condition of a name, or makes one.

        Args:
            lock: A lock of this manager, or a name; by default a new `RLock`.
            name: The name, where that reads better.
        """
        if isinstance(lock, str):
            lock, name = None, lock
        if lock is None:
            lock = self.RLock(None if name is None else f"{name} (lock)")
        if not isinstance(lock, Lock | RLock):
            raise TypeError(f"a condition needs a lock of its manager, not {lock!r}")
        return proxy.create(self._store, Condition, name, {"lock": lock})

    def Barrier(  # noqa: N802
        self,
        parties: int,
        action: Callable[[], Any] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> Barrier:
        """Gives the barrier of a name, or makes one.

        Args:
            parties: How many threads pass together.
            action: Called by the last to come, before the others pass.
            timeout: For how many seconds each waits at most, unless it says otherwise.
            name: The name.
        """
        if parties < 1:
            raise ValueError("parties must be > 0")
        facts = {"parties": parties, "action": action_bytes(action), "timeout": timeout}
        return proxy.create(self._store, Barrier, name, facts)

    def channel(self, name: str | None = None, buffer: int = BUFFER) -> Channel:
        """Gives the channel of a name, or makes one.

        Args:
            name: The name.
            buffer: How many messages a subscriber may be behind before it misses the oldest.
        """
        if buffer < 1:
            raise ValueError("buffer must be > 0")
        return proxy.create(self._store, Channel, name, {"buffer": buffer})


def _named(name: str | None, args: Any, *, most: int) -> tuple[str | None, Any]:
    """Takes the name off positional arguments; text is always a name."""
    if name is None and args and isinstance(args[0], str):
        name, args = args[0], args[1:]
    if len(args) > most:
        raise TypeError(f"at most {most} arguments and a name were expected, not {len(args)}")
    return name, args
