"""Libraries beside a pool: BLAS threads, random numbers, joblib, scikit-learn, Dask."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Any

import pytest

import manycore
from manycore.errors import MissingExtra
from manycore.pool import blas
from manycore.pool.classic import Pool
from manycore.pool.executor import Executor
from manycore.pool.threads import ThreadPool

# Threads of libraries.


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has set a limit, and there are eight CPUs."""
    for name in blas.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MANYCORE_CPUS", "8")


def remember_limit() -> None:
    os.environ["SEEN"] = os.environ["OMP_NUM_THREADS"]


@pytest.mark.usefixtures("undecided")
def test_each_worker_has_its_share_of_the_cpus() -> None:
    """In the environment of all it loads, and starts; the program's own is not touched."""
    with Pool(4) as pool:
        assert {pool.apply(os.getenv, (name,)) for name in blas.VARIABLES} == {"2"}
    with Executor(3, threads_per_worker=5) as executor:
        assert executor.submit(os.getenv, "MKL_NUM_THREADS").result() == "5"
    with Pool(16, initializer=remember_limit) as pool:
        assert pool.apply(os.getenv, ("SEEN",)) == "1"
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.usefixtures("undecided")
def test_whoever_set_a_limit_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Pool(4) as pool:
        assert pool.apply(os.getenv, ("OMP_NUM_THREADS",)) == "7"


class LoadsEarly:
    """An initializer whose module looks at the limit when it is read."""

    def __reduce__(self) -> Any:
        return look_at_limit, ()


def look_at_limit() -> Any:
    os.environ["SEEN"] = os.environ.get("OMP_NUM_THREADS", "nothing")
    return bool


@pytest.mark.usefixtures("undecided")
def test_the_limit_is_there_before_the_initializer_is_read() -> None:
    """Reading it may import a library, and that reads the limit once."""
    initializer: Any = LoadsEarly()
    initializer.__class__.__call__ = lambda _self: None
    with Pool(2, initializer=initializer) as pool:
        assert pool.apply(os.getenv, ("SEEN",)) == "4"


def blas_threads() -> list[int]:
    import numpy as np
    import threadpoolctl

    np.ones(2) @ np.ones(2)
    return [one["num_threads"] for one in threadpoolctl.threadpool_info()]


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("preloaded", [False, True])
def test_a_real_library_obeys(preloaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy's BLAS has as many threads as its worker may have, when it was preloaded too."""
    pytest.importorskip("threadpoolctl")
    pytest.importorskip("numpy")
    monkeypatch.setenv("MANYCORE_CPUS", "2")
    if preloaded:
        manycore.preload("numpy")
    with Pool(2) as pool:
        found = pool.apply(blas_threads)
    assert found
    assert set(found) == {1}


# Random numbers.


def draw(_: object = None) -> tuple[float, float]:
    return random.random(), manycore.task_seed() or 0


def draw_two(low: int, high: int) -> int:
    return random.randint(low, high)


def draw_numpy(_: object) -> float:
    import numpy as np  # here, so that nothing has loaded it before

    return float(np.random.random())  # noqa: NPY002  # the generator that everybody shares


def draw_or_die(directory: str) -> float:
    first = random.random()
    path = os.path.join(directory, str(first))
    if not os.path.exists(path):
        open(path, "w").close()
        raise OSError("the first try fails")
    return first


def test_the_same_numbers_on_any_number_of_workers() -> None:
    """Of every map, in any order of running."""
    expected = None
    for workers in (1, 2, 5):
        with Pool(workers) as pool:
            found = [
                pool.map(draw, range(200), seed=7),
                pool.map(draw, iter(range(200)), seed=7),
                pool.map_async(draw, range(200), seed=7).get(),
                list(pool.imap(draw, range(200), seed=7)),
            ]
            assert sorted(pool.imap_unordered(draw, range(200), seed=7)) == sorted(found[0])
            pairs = [(0, 10**9)] * 50
            starred = pool.starmap(draw_two, pairs, seed=7)
            assert pool.starmap_async(draw_two, pairs, seed=7).get() == starred
        with Executor(workers) as executor:
            found.append(list(executor.map(draw, range(200), seed=7)))
            assert list(executor.map(draw_two, *zip(*pairs, strict=True), seed=7)) == starred
        assert all(one == found[0] for one in found)
        assert len({first for first, _ in found[0]}) == 200
        assert len(set(starred)) > 45
        expected = expected or (found[0], starred)
        assert (found[0], starred) == expected


def test_other_seeds_and_none() -> None:
    """Another seed gives other numbers; without one they differ each time."""
    with Pool(2) as pool:
        assert pool.map(draw, range(5), seed=1) != pool.map(draw, range(5), seed=2)
        assert pool.map(draw, range(5)) != pool.map(draw, range(5))
        assert pool.apply(draw, (), seed=3) == pool.apply(draw, (), seed=3)
        assert pool.submit(manycore.seeded(draw, 3)).result() == pool.apply(draw, seed=3)
        assert pool.apply(draw)[1] == 0
    assert manycore.task_seed() is None


def test_a_seed_leaves_no_trace() -> None:
    """A task without one, on a worker that had one, draws numbers that nobody foresees."""
    after = []
    for _ in range(2):
        with Pool(1) as pool:
            pool.map(draw, range(3), seed=7)
            after.append(pool.apply(draw))
    assert after[0] != after[1]


def test_a_second_try_draws_the_same(tmp_path: Any) -> None:
    """A retry is the same task."""
    with Pool(2, retries=1) as pool:
        found = pool.map(draw_or_die, [str(tmp_path)] * 10, seed=7)
    assert sorted(map(str, found)) == sorted(os.listdir(tmp_path))


def test_numpy_is_seeded_before_a_task_imports_it() -> None:
    """Its shared generator belongs to the task, too."""
    pytest.importorskip("numpy")
    with Pool(2) as pool:
        found = pool.map(draw_numpy, range(20), seed=7)
        assert len(set(found)) == 20
    with Pool(1) as pool:
        assert pool.map(draw_numpy, range(20), seed=7) == found


def test_progress_and_seeds_go_together(capfd: pytest.CaptureFixture[str]) -> None:
    """The bar says what the function is called."""
    with Pool(2) as pool:
        assert len(pool.map(draw, range(5), seed=7, progress=True)) == 5
        assert len(list(pool.imap(draw, [1, 2], seed=7, progress=True))) == 2
    said = capfd.readouterr().err
    assert "draw: 5 of 5 (100%)" in said
    assert "draw: 2 of 2 (100%)" in said


@pytest.mark.parametrize("seed", ["x", 1.5, True])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    """Anything else is told at once."""
    with Pool(1) as pool:
        for call in (pool.map, pool.imap, pool.map_async):
            with pytest.raises(ValueError, match="seed must be a whole number, not"):
                call(draw, [1], seed=seed)
        with pytest.raises(ValueError, match="seed must be a whole number, not"):
            pool.apply(draw, seed=seed)


def test_threads_have_no_streams_of_their_own() -> None:
    """They share their generators: better an error than numbers that are not what was asked."""
    with ThreadPool(2) as pool:
        with pytest.raises(ValueError, match="a seed needs a pool of processes"):
            pool.map(draw, [1], seed=7)
        with pytest.raises(ValueError, match="a seed needs a pool of processes"):
            pool.apply(draw, seed=7)


# joblib, scikit-learn, Dask.


def pid_after(x: int) -> tuple[int, int]:
    return x * x, os.getpid()


def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def die(x: int) -> int:
    if x == 3:
        os._exit(9)
    return x


@pytest.fixture
def joblib() -> Any:
    joblib = pytest.importorskip("joblib")
    manycore.register_joblib()
    return joblib


def test_joblib_runs_on_our_workers(joblib: Any) -> None:
    """Results in order, on processes that stay for the next call."""
    with joblib.parallel_backend("manycore", n_jobs=2):
        first = joblib.Parallel()(joblib.delayed(pid_after)(x) for x in range(100))
        second = joblib.Parallel()(joblib.delayed(pid_after)(x) for x in range(100))
    assert [value for value, _ in first] == [x * x for x in range(100)]
    pids = {pid for _, pid in first + second}
    assert len(pids) <= 2
    assert os.getpid() not in pids


def test_joblib_sees_errors_and_lost_workers(joblib: Any) -> None:
    """With their names; and the backend is good for the next call."""
    with joblib.parallel_backend("manycore", n_jobs=2):
        with pytest.raises(ValueError, match=r"^no \d$"):
            joblib.Parallel()(joblib.delayed(fail)(x) for x in range(4))
        with pytest.raises(manycore.WorkerLost, match="exited 9"):
            joblib.Parallel()(joblib.delayed(die)(x) for x in range(6))
        found = joblib.Parallel()(joblib.delayed(abs)(x) for x in (-1, 2))
    assert found == [1, 2]


def test_joblib_s_numbers_of_jobs(joblib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative ones count from the CPUs that are ours; one job is no process at all."""
    monkeypatch.setenv("MANYCORE_CPUS", "3")
    with joblib.parallel_backend("manycore"):
        assert joblib.effective_n_jobs() == 3
        assert joblib.effective_n_jobs(-2) == 2
        assert joblib.effective_n_jobs(2) == 2
    with joblib.parallel_backend("manycore", n_jobs=1):
        (found,) = joblib.Parallel()([joblib.delayed(pid_after)(2)])
    assert found == (4, os.getpid())


def test_joblib_limits_threads_and_streams_results(joblib: Any) -> None:
    """`inner_max_num_threads` reaches the workers, and results may be taken as they come."""
    with joblib.parallel_backend("manycore", n_jobs=2, inner_max_num_threads=3):
        given = joblib.Parallel()(joblib.delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(2))
        assert given == ["3", "3"] or "OMP_NUM_THREADS" in os.environ
        parallel = joblib.Parallel(return_as="generator")
        assert list(parallel(joblib.delayed(abs)(x) for x in range(20))) == list(range(20))


def test_scikit_learn_runs_on_our_workers(joblib: Any) -> None:
    """A search over parameters gives what it gives without us."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    x, y = make_classification(n_samples=200, random_state=1)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=3, n_jobs=2)
    with joblib.parallel_backend("manycore", n_jobs=2):
        ours = search.fit(x, y)
        best, scores = ours.best_params_, list(ours.cv_results_["mean_test_score"])
    alone = search.set_params(n_jobs=1).fit(x, y)
    assert best == alone.best_params_
    assert scores == pytest.approx(list(alone.cv_results_["mean_test_score"]))


def test_without_joblib_the_remedy_is_named() -> None:
    """One line."""
    program = (
        "import sys; sys.modules['joblib'] = None\n"
        "import manycore\n"
        "try: manycore.register_joblib()\n"
        "except manycore.MissingExtra as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.startswith("register_joblib needs joblib, which is not installed; run: pip")
    assert issubclass(MissingExtra, ImportError)


def test_dask_takes_an_executor_as_scheduler() -> None:
    """Tasks run on our workers, lambdas too, and what they raise comes back."""
    dask = pytest.importorskip("dask")
    with Executor(2) as executor:
        parts = [dask.delayed(pid_after)(x) for x in range(20)]
        total = dask.delayed(lambda pairs: (sum(v for v, _ in pairs), {p for _, p in pairs}))(parts)
        (found,) = dask.compute(total, scheduler=executor)
        assert found[0] == sum(x * x for x in range(20))
        assert os.getpid() not in found[1]
        with pytest.raises(ValueError, match="no 5"):
            dask.compute(dask.delayed(fail)(5), scheduler=executor)
        with pytest.raises(manycore.WorkerLost):
            dask.compute(dask.delayed(die)(3), scheduler=executor)
        assert dask.compute(dask.delayed(abs)(-1), scheduler=executor) == (1,)
