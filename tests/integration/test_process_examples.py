"""Every example runs, and prints what its page promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from process_programs import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"

PRINTED = {
    "process_create": "000\n",
    "process_fork": "I am the (parent|child)\nI am the (parent|child)\n",
    "process_identify": r"main pid (\d+)\ncurrent_process \1\nbefore start None\nafter start \d+\n",
    "process_daemon": "the parent ends\n",
    "process_terminate": "-15\n",
    "process_subclass": "init...\nrun...\ntask...\n",
    "process_share": r"\[\]\n\[111\]\n",
    "process_result": "result: 1.75\nraised: division by zero\nlost: unlucky killed by SIGKILL\n"
    "state: True\nafter the block: False\n",
}


def test_there_is_no_example_without_a_test() -> None:
    """Whoever adds an example says here what it prints."""
    assert {path.stem for path in EXAMPLES.glob("process_*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_it_prints(name: str) -> None:
    """The example runs to its end and prints what is expected."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
        # unbuffered, a print is several writes, and those of two processes mix
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTED[name], done.stdout), done.stdout
