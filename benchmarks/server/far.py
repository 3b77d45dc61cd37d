"""Clients that are far away from a server on the same machine."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Final

HERE: Final = "10.9.0.1"  #: where a server listens
FROM_AFAR: Final = "10.9.0.2"  #: what its clients connect to
_INSIDE = "MANYCORE_FAR"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_ADDRESSES = slice(12, 16), slice(16, 20)  # source and destination in an IPv4 header


def move_away() -> None:
    """Runs this program again in a network namespace of its own, unless it is there already."""
    if _INSIDE not in os.environ:
        command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.argv]
        done = subprocess.run(command, env=os.environ | {_INSIDE: "1"}, check=False)
        sys.exit(done.returncode)


def be_far_away(delay: float) -> None:
    """Makes FROM_AFAR this very machine, seen over a line that takes a while in each direction.

    A packet comes back with its two addresses exchanged, which changes no checksum.
    """
    tunnel = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH22x", b"far", _IFF_TUN | _IFF_NO_PI))
    for command in (
        "ip link set lo up",
        f"ip addr add {HERE}/24 dev far",
        "ip link set far up",
    ):
        subprocess.run(command.split(), check=True)
    held: deque[tuple[float, bytes]] = deque()
    arrived = threading.Event()

    def take() -> None:
        source, destination = _ADDRESSES
        while True:
            packet = os.read(tunnel, 65_536)
            if packet[0] >> 4 == 4:  # IPv4
                turned = packet[:12] + packet[destination] + packet[source] + packet[20:]
                held.append((time.monotonic() + delay, turned))
                arrived.set()

    def give() -> None:
        while True:
            arrived.wait()
            arrived.clear()
            while held:
                due, packet = held.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                os.write(tunnel, packet)

    for job in (take, give):
        threading.Thread(target=job, daemon=True).start()
