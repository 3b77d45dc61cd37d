"""Handlers that offload and share, in each form."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import manycore


def where(text: str) -> str:
    return f"{text} {os.getpid()}"


def fail() -> None:
    raise ValueError("as it should")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nap(seconds: float) -> str:
    import time

    time.sleep(seconds)
    return "rested"


def handle(conn: socket.socket) -> None:
    """Answers each word with what became of it."""
    while word := conn.recv(100).decode():
        conn.sendall(answer(word).encode())


def answer(word: str) -> str:
    try:
        match word:
            case "where":
                return f"{os.getpid()} {manycore.offload(where, 'in')}"
            case "fail":
                manycore.offload(fail)
            case "die":
                manycore.offload(die)
            case "nap":
                return str(manycore.offload(nap, 1.0))
            case "count":
                return str(manycore.shared.counter("hits").add(1))
            case "path":
                return str(manycore.shared.path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return word


async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while word := (await reader.read(100)).decode():
        if word == "where":
            text = f"{os.getpid()} {await manycore.offload(where, 'in')}"
        elif word == "nap":
            text = str(await manycore.offload(nap, 1.0))
        else:
            text = answer(word) if word in {"count", "path", "echo"} else await failing(word)
        writer.write(text.encode())


async def failing(word: str) -> str:
    try:
        await manycore.offload({"fail": fail, "die": die}[word])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "?"
