"""joblib's work on an `Executor`. Imported by `register_joblib`, when there is joblib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from manycore.base.cpus import cpu_count

from .executor import Executor
from .future import Future


class ManycoreBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs `joblib.Parallel` on manycore's processes.

    The workers stay for the next call, as long as the backend does: for the `with` block of
    `parallel_backend`. Keyword arguments of `parallel_backend` go to `Executor`: `timeout` say is
    how long a batch may take.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._executor: Executor | None = None
        self._jobs = 0

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Says how many workers there will be; negative numbers count from the CPUs, as -1: all."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(1, cpu_count() + 1 + n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Gets ready for a call of `Parallel`; gives the number of workers."""
        jobs = self.effective_n_jobs(n_jobs)
        if jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        if self._executor is None or self._jobs != jobs:
            self._stop()
            self._jobs = jobs
            self._executor = Executor(
                jobs, threads_per_worker=self.inner_max_num_threads, **self.backend_kwargs
            )
        return jobs

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Future:
        """Queues a batch."""
        assert self._executor is not None
        future = self._executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future) -> Any:
        """Gives what a batch returned, or raises what it raised."""
        return out.result()

    def terminate(self) -> None:
        """A call of `Parallel` is over; the workers stay for the next one."""
        self.reset_batch_stats()
        self.parallel = None  # it knows us: a circle would keep the workers for longer

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002  # joblib's
        """Ends what runs: something has failed."""
        self._stop()
        if ensure_ready:
            self.configure(self._jobs, self.parallel)

    def _stop(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.terminate()
