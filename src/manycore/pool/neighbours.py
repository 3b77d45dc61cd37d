"""Other libraries that can use a pool."""

from __future__ import annotations

from manycore.errors import MissingExtra


def register_joblib() -> None:
    """Makes `joblib.parallel_backend("manycore")` known; scikit-learn runs on it, too.

    Raises:
        MissingExtra: When joblib is not installed.

    Example:
        >>> register_joblib()
        >>> import joblib
        >>> with joblib.parallel_backend("manycore", n_jobs=2):
        ...     joblib.Parallel()(joblib.delayed(abs)(x) for x in (-1, 2))
        [1, 2]
    """
    try:
        import joblib
    except ImportError:
        raise MissingExtra("register_joblib", "joblib", "joblib") from None
    from .joblib_backend import ManycoreBackend

    joblib.register_parallel_backend("manycore", ManycoreBackend)
