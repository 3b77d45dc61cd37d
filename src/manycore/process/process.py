"""`Process`, with the standard library's names and what its users end up writing.

It is a `multiprocessing.Process`: misuse raises the same exceptions, `current_process`,
`parent_process` and `active_children` are the standard library's own, and so is what happens at
the program's exit. How a process starts is in `launch`, what it does then in `life`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import context, util
from multiprocessing import process as standard
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from manycore.base import birth, signals

from .methods import chosen_method
from .outcome import Outcome

if sys.platform != "linux":
    raise ImportError(
        "manycore's processes need Linux, whose kernel ends them with their parent: "
        "use multiprocessing.Process here"
    )

if TYPE_CHECKING:
    from manycore.base.facts import ProcessStatistics

    from . import launch


class Process(context.Process):
    """A function, or a subclass's `run`, in a process of its own.

    Args:
        group: For `threading.Thread`'s sake; nothing but None.
        target: What the process calls; lambdas, closures and functions of `__main__` will do.
        name: What people see; `Process-1` and so on when omitted.
        args: The target's positional arguments.
        kwargs: The target's keyword arguments.
        daemon: Whether the process, and what it started, ends with this one, however that ends.
            Otherwise this one waits for it at its exit. Inherited when omitted.
        start_method: `template`, `fork`, `spawn` or `forkserver`; the program's default, which is
            `template`, when omitted.

    Raises:
        AssertionError: When `group` is given.
        ValueError: When there is no such start method.

    Example:
        >>> process = Process(target=pow, args=(2, 10))
        >>> process.start()
        >>> process.result()
        1024
    """

    # what the standard library's class keeps
    _popen: launch.Popen | None
    _parent_pid: int
    _closed: bool
    _target: Callable[..., Any] | None
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _check_closed: Callable[[], None]

    _preset: ClassVar[str | None] = None  # the start method of a context's processes

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        start_method: str | None = None,
    ) -> None:
        if group:
            raise AssertionError("group argument must be None for now")
        super().__init__(None, target, name, args, {} if kwargs is None else kwargs, daemon=daemon)
        self._method = chosen_method(start_method or self._preset)
        self._outcome: Outcome | None = None

    def run(self) -> Any:
        """What the process does: calls the target. A subclass may do something else.

        Returns:
            What `result` gives to the parent.
        """
        if self._target:
            return self._target(*self._args, **self._kwargs)
        return None

    def start(self) -> None:
        """Starts the process; returns when it exists.

        Raises:
            SendError: When the target, an argument or an attribute cannot be sent; it says which.
            AssertionError: When the process was started before, or made by another process.
            RuntimeError: While modules are imported in a process that has not begun its work.
            OSError: When there is no room for a process.
        """
        self._check_closed()
        if self._popen is not None:
            raise AssertionError("cannot start a process twice")
        if self._parent_pid != os.getpid():
            raise AssertionError("can only start a process object created by current process")
        if birth.is_importing():
            raise RuntimeError(_STARTED_AT_IMPORT)
        with signals.importing():
            from . import launch  # the child has no use for it

        standard._cleanup()  # type: ignore[attr-defined]  # noqa: SLF001
        self._popen = launch.start(self, self._method)
        self._sentinel = self._popen.sentinel
        del self._target, self._args, self._kwargs  # as a cycle they would keep each other alive
        standard._children.add(self)  # type: ignore[attr-defined]  # noqa: SLF001

    def result(self, timeout: float | None = None) -> Any:
        """Waits for what the target, or `run`, returned.

        The process may live on for a moment: to see its end, join it.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Raises:
            BaseException: What the target raised, with the traceback there as its cause.
            WorkerLost: When the process ended without a result.
            RemoteError: When what the target raised cannot be rebuilt here.
            TimeoutError: When there is no result in time; the process goes on.
            AssertionError: When the process was not started, or not by this process.
        """
        popen = self._started("get the result of")
        if self._outcome is None:
            if not popen.child.wait_for_outcome(timeout):
                raise TimeoutError(f"{self.name} (pid {popen.pid}) has no result after {timeout} s")
            self._outcome = Outcome.of(popen.child, self.name, popen.oom_kills)
        return self._outcome.give()

    def terminate(self) -> None:
        """Asks the process to end, with SIGTERM; what it started is left alone."""
        self._check_closed()
        self._check_ours("end")
        super().terminate()

    def kill(self) -> None:
        """Ends the process, with SIGKILL; what it started is left alone."""
        self._check_closed()
        self._check_ours("end")
        super().kill()

    def stop(self, grace: float = 5.0) -> None:
        """Ends the process and all that it started; returns when they have ended.

        The process gets SIGTERM; when the grace period is over, or it has ended before that, what
        is left of it and of the programs that it started gets SIGKILL. A process that has not been
        started, or has ended, is no error.

        Args:
            grace: Seconds.

        Example:
            >>> import time
            >>> with Process(target=time.sleep, args=(60,)) as process:
            ...     process.stop()
            >>> process.exitcode
            -15
        """
        self._check_closed()
        self._check_ours("end")
        if self._popen is None:
            return
        self._popen.end_tree(grace)
        self.join()

    def statistics(self) -> ProcessStatistics:
        """What the process is using, and doing, at this moment.

        Raises:
            AssertionError: When the process was not started.
            ProcessLookupError: When it has ended.
        """
        from manycore.base.facts import read_statistics

        if self is standard.current_process():
            return read_statistics(os.getpid())
        popen = self._started("look at")
        if popen.poll() is not None:
            raise ProcessLookupError(f"{self.name} (pid {popen.pid}) has ended")
        return read_statistics(popen.pid)

    def _started(self, verb: str) -> launch.Popen:
        self._check_closed()
        self._check_ours(verb)
        if self._popen is None:
            raise AssertionError(f"can only {verb} a started process")
        return self._popen

    def _check_ours(self, verb: str) -> None:
        if self._parent_pid != os.getpid():
            raise AssertionError(f"can only {verb} a child process")

    def _after_fork(self) -> None:
        """Called by the standard library in the child, before `run`."""
        if self._method == "fork":  # the others have nothing of the parent's to forget
            util._finalizer_registry.clear()  # type: ignore[attr-defined]  # noqa: SLF001
            util._run_after_forkers()  # type: ignore[attr-defined]  # noqa: SLF001

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state["_outcome"] = None
        return state

    def __enter__(self) -> Self:
        if self._popen is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._closed:
            self.stop()


_STARTED_AT_IMPORT: Final = (
    "a process is being started by a module while a process that is to use the module imports it: "
    "each would start the next one, without end. Start it in a function, or under "
    "`if __name__ == '__main__':`, which is not run in processes."
)
