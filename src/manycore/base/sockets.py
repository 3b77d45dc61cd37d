"""Listening sockets: bound, inherited, handed on, and closed without losing who is queued.

Guarantees: a Unix socket's file that nobody listens on is replaced, one that somebody listens on
never is, and only a file of our own making is removed; a listener is never `shutdown()`, since that
would end it in every process that has it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from manycore.errors import BindError

from . import handshakes, kernel
from .addresses import (
    BindAddress,
    InheritedSocket,
    SocketAddress,
    TcpAddress,
    UnixAddress,
    format_address,
)

FIRST_SYSTEMD_FD = 3  # SD_LISTEN_FDS_START, man 3 sd_listen_fds
LOCK_PATIENCE = 5.0  # seconds: another server holds the directory for microseconds
_UNACKED_AT = 24  # tcpi_unacked in struct tcp_info, linux/tcp.h
SO_ATTACH_FILTER = 26  # asm-generic/socket.h

ListenerFacts: TypeAlias = tuple[int, bool, tuple[int, int] | None]
"""A listener's descriptor, whether it is ours, and its file."""


@dataclass(slots=True)
class Listener:
    """A listening socket, and what has to be known to end it well.

    Attributes:
        sock: The socket. It does not block.
        ours: It was bound here: nobody else accepts from it once we stop.
        file: Device and inode of the Unix socket's file, if it was made here.
        deaf: It takes no newcomers any more.
    """

    sock: socket.socket
    ours: bool
    file: tuple[int, int] | None = None
    deaf: bool = False

    @property
    def address(self) -> SocketAddress:
        """What clients connect to."""
        name = self.sock.getsockname()
        return os.fsdecode(name) if isinstance(name, str | bytes) else (name[0], name[1])

    def __str__(self) -> str:
        return format_address(self.address)

    def facts(self) -> ListenerFacts:
        """What another process needs to take the listener over, with its descriptor."""
        return self.sock.fileno(), self.ours, self.file

    def refuse_newcomers(self) -> None:
        """Stops the queue from growing, so that what is in it can be served to the last.

        New TCP clients are not refused but kept waiting: their SYN is dropped and sent again, by
        when another server may listen. Where no filter can do that, this process closes the
        socket, so that new clients are refused as soon as the queue is empty and the last worker
        has let go of it. A Unix socket's file is removed. A socket that was inherited is left as
        it is: whoever gave it will give it to the next server.
        """
        if not self.ours or self.deaf:
            return
        self.deaf = True
        if self.file is not None:
            self._remove_file()
        elif kernel.FILTERS_SOCKETS:
            with suppress(OSError):  # a kernel without socket filters: the queue is still served
                _drop_syns(self.sock)
        else:
            self.sock.close()

    def handshakes(self) -> int:
        """Counts the TCP clients that are half in, once nobody new is heard."""
        if not self.deaf or self.sock.fileno() < 0:
            return 0
        return handshakes.under_way(self.sock)

    def hand_on(self) -> None:
        """Leaves the socket, and its file, to another server that has it too."""
        self.ours, self.file = False, None

    def close(self) -> None:
        """Closes the socket here, and removes its file if that is still ours."""
        if self.sock.fileno() >= 0:
            self._remove_file()
            self.sock.close()

    def _remove_file(self) -> None:
        if self.file is None:
            return
        path = self.sock.getsockname()
        with suppress(OSError):
            found = os.lstat(path)
            if (found.st_dev, found.st_ino) == self.file:
                os.unlink(path)
        self.file = None


def listen(
    address: BindAddress,
    backlog: int,
    unix_mode: int | None = None,
    owner: tuple[int, int] | None = None,
    *,
    shared: bool = False,
) -> Listener:
    """Opens a listener.

    Args:
        address: Where, as `parse_bind` gives it.
        backlog: How many clients the kernel may keep queued.
        unix_mode: The permissions of a Unix socket's file; None: what the umask leaves.
        owner: Whose that file is to be, if it is not ours.
        shared: Whether other servers of this user may listen on the same TCP port.

    Raises:
        BindError: When the operating system refuses.
    """
    try:
        match address:
            case TcpAddress():
                return _listen_tcp(address, backlog, shared=shared)
            case UnixAddress():
                return _listen_unix(address, backlog, unix_mode, owner)
            case InheritedSocket():
                os.set_inheritable(address.fd, False)  # ours is a copy; no program may have either
                return _adopt(os.dup(address.fd), str(address))
    except OSError as error:
        raise _bind_error(str(address), error, shared=shared) from error


def adopt(listeners: list[ListenerFacts]) -> list[Listener]:
    """Takes over listeners whose descriptors another process handed to this one."""
    return [Listener(socket.socket(fileno=fd), ours, file) for fd, ours, file in listeners]


def queued(sock: socket.socket) -> int:
    """Counts the clients that wait to be accepted; of a Unix socket, whether there are some."""
    if sock.family == socket.AF_UNIX:
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        return len(poller.poll(0))
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED_AT + 4)
    except (OSError, AttributeError):  # not Linux
        return 0
    return int.from_bytes(info[_UNACKED_AT:], sys.byteorder)  # of a listener, its queue's length


def is_shared(sock: socket.socket) -> bool:
    """Whether other servers may listen on the same port, each with a queue of its own."""
    internet = sock.family in {socket.AF_INET, socket.AF_INET6}
    return internet and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def moves_queues() -> bool:
    """Whether the kernel moves what is queued at a closed listener to another one of its port."""
    try:
        with open("/proc/sys/net/ipv4/tcp_migrate_req", encoding="ascii") as file:
            return file.read().strip() != "0"
    except OSError:  # not Linux, or before 5.14
        return False


def systemd_sockets(environ: Mapping[str, str]) -> list[InheritedSocket]:
    """Finds the sockets that the service manager opened for this process (man 3 sd_listen_fds)."""
    try:
        if int(environ["LISTEN_PID"]) != os.getpid():
            return []
        count = int(environ["LISTEN_FDS"])
    except (KeyError, ValueError):
        return []
    return [InheritedSocket(fd) for fd in range(FIRST_SYSTEMD_FD, FIRST_SYSTEMD_FD + count)]


def forget_systemd_sockets(environ: MutableMapping[str, str]) -> None:
    """Removes what `systemd_sockets` read, so that no child takes the sockets for its own."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)


def _listen_tcp(address: TcpAddress, backlog: int, *, shared: bool) -> Listener:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # a name such as "localhost" may have both kinds; clients that know one address know the IPv4
    family, kind, protocol, _, name = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # accepted sockets inherit these two from the listener, at no cost a connection
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.bind(name)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, ours=True)


def _listen_unix(
    address: UnixAddress, backlog: int, mode: int | None, owner: tuple[int, int] | None
) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _directory_locked(address):
            _remove_stale(address)
            sock.bind(address.path)
            if mode is not None:  # before listen(): nobody could connect until now
                os.chmod(address.path, mode)
            if owner is not None:
                os.chown(address.path, *owner)
            sock.listen(backlog)
            made = os.lstat(address.path)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, ours=True, file=(made.st_dev, made.st_ino))


@contextmanager
def _directory_locked(address: UnixAddress) -> Iterator[None]:
    """Two servers that start at once must not both find the same file stale."""
    directory = os.path.dirname(address.path) or "."
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BindError(
                        str(address), f"{directory} is locked", "find who holds it (lslocks)"
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(fd)


def _remove_stale(address: UnixAddress) -> None:
    try:
        found = os.lstat(address.path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BindError(
            str(address), "the path exists and is no socket", "choose another path or remove it"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:  # nobody listens: what a killed server left behind
            os.unlink(address.path)
            return
        except BlockingIOError:  # its queue is full: alive, and busy
            pass
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # somebody's datagram socket: alive
                raise
    raise BindError(str(address), "another server listens there", "stop it or choose another path")


def _adopt(fd: int, name: str) -> Listener:
    sock = socket.socket(fileno=fd)
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.type != socket.SOCK_STREAM or not listens:
            raise BindError(name, "it is no listening stream socket", "listen() before handing it")
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, ours=False)


_REMEDIES = {
    errno.EADDRINUSE: "stop what listens there, or choose another port (0: any free one)",
    errno.EACCES: "choose a port from 1024, or give the right (CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "choose an address of this machine (see: ip address)",
    errno.EBADF: "pass a descriptor that is open in this process",
    errno.ENOTSOCK: "pass the descriptor of a listening socket",
    errno.ENOENT: "make the directory first",
}


def _bind_error(address: str, error: OSError, *, shared: bool) -> BindError:
    if isinstance(error, socket.gaierror):
        return BindError(address, str(error.strerror), "check the host's name")
    remedy = _REMEDIES.get(error.errno or 0, "choose another address")
    if shared and error.errno == errno.EADDRINUSE:
        remedy = "start what listens there with reuse-port too, as the same user"
    if address.startswith("unix:") and error.errno == errno.EACCES:
        remedy = "choose a directory that this user can write to"
    return BindError(address, (error.strerror or str(error)).lower(), remedy)


class _Instruction(ctypes.Structure):  # struct sock_filter, linux/filter.h
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):  # struct sock_fprog
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def _drop_syns(sock: socket.socket) -> None:
    """Lets a listener hear no SYN any more; handshakes that are under way still end well.

    A classic BPF program; for a TCP socket the packet starts at the TCP header, whose byte 13 holds
    the flags (RFC 9293, 3.1).
    """
    load_flags, test_bits, give = 0x30, 0x45, 0x06  # BPF_LD|B|ABS, BPF_JMP|JSET|K, BPF_RET|K
    syn, everything = 0x02, 0xFFFF_FFFF
    code = (_Instruction * 4)(
        _Instruction(load_flags, 0, 0, 13),
        _Instruction(test_bits, 0, 1, syn),
        _Instruction(give, 0, 0, 0),
        _Instruction(give, 0, 0, everything),
    )
    program = _Program(len(code), code)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))
