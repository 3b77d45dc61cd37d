"""Graceful stops under load, in short; the long form is a benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STOPS = Path(__file__).parents[2] / "benchmarks" / "server" / "stops.py"


@pytest.mark.parametrize("rtt", ["0", "0.04"])
def test_a_stop_resets_nobody_who_was_connected(rtt: str) -> None:
    """Who believes to be connected is answered, even if the last acknowledgment is on its way."""
    if rtt != "0":
        namespace = ["unshare", "--user", "--map-root-user", "--net", "test", "-w", "/dev/net/tun"]
        if not Path("/dev/net/tun").exists() or subprocess.run(namespace, check=False).returncode:
            pytest.skip("no network namespace with a TUN device can be made here")
    done = subprocess.run(
        [sys.executable, str(STOPS), "threads", "halfway", "protocol", "stops=2", f"rtt={rtt}"],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 lost") == 3
