"""How code that the other side cannot import is written."""

import io
import pickle
from fractions import Fraction
from types import FunctionType
from typing import Any

from manycore.base.byvalue import ByValuePickler


def there_and_back(value: Any) -> Any:
    written = io.BytesIO()
    ByValuePickler(written).dump(value)
    return pickle.loads(written.getvalue())


def test_code_keeps_its_file() -> None:
    """A traceback on the other side can show the line."""
    arrived = there_and_back(lambda: list(range(3)))
    assert arrived() == [0, 1, 2]
    assert arrived.__code__.co_filename == __file__


def test_a_constant_that_no_compiler_made() -> None:
    """Code whose constants are any objects still arrives."""
    plain = (lambda: 1.5).__code__
    constants = tuple(Fraction(1, 3) if one == 1.5 else one for one in plain.co_consts)
    patched = FunctionType(plain.replace(co_consts=constants), {}, "patched")
    assert there_and_back(patched)() == Fraction(1, 3)
