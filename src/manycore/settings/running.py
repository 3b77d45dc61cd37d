"""How a server is stopped, renewed, found and heard."""

from __future__ import annotations

from dataclasses import dataclass

from . import values
from .facts import setting

NO_CONTROL = "none"


@dataclass(frozen=True, kw_only=True)
class RunningSettings:
    """Settings of a server's life."""

    graceful_timeout: float = setting(
        30.0,
        values.seconds,
        "--graceful-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Stopping",
        text="How long a graceful stop lets open connections go on. Then they are ended.",
    )
    pre_stop_delay: float = setting(
        0.0,
        values.seconds,
        "--pre-stop-delay",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Stopping",
        text="For how long all goes on as before after a graceful stop was asked for, so that "
        "whoever sends clients here (a load balancer, Kubernetes) notices and sends no more.",
    )
    reload: bool = setting(
        False,
        values.switch,
        "--reload",
        metavar="",
        remedy="give true or false",
        topic="Reloading",
        text="Reload when a Python file changes in the working directory or below, or beside the "
        "target's file. For development.",
        switch=True,
    )
    reload_extra: tuple[str, ...] = setting(
        "",
        values.texts,
        "--reload-extra",
        metavar="PATH",
        many=True,
        remedy="give paths",
        topic="Reloading",
        text="With reload: further directories whose Python files are watched, and further files "
        "of any kind. May be given several times.",
    )
    reload_overlap: int = setting(
        1,
        values.whole(1, values.MOST_WORKERS),
        "--reload-overlap",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Reloading",
        text="How many processes there may be beyond the workers, while a reload replaces them: "
        "successors that boot, and old workers that drain.",
    )
    name: str = setting(
        "",
        str,
        "-n",
        "--name",
        metavar="NAME",
        remedy="use letters, digits, '.', '-' and '_'",
        topic="Control",
        text="What manycore status, reload, scale and stop find the server by. By default its "
        "process id.",
    )
    control_socket: str = setting(
        "",
        str,
        "--control-socket",
        metavar="PATH|none",
        remedy="give a path, or none",
        topic="Control",
        text="Where the server can be asked and told things: a Unix socket that only this user "
        "can use. By default NAME.sock in a directory of this user's own for the command, and "
        "none for serve and Server.",
    )
    pid_file: str = setting(
        "",
        str,
        "--pid-file",
        metavar="PATH",
        remedy="give a path",
        topic="Control",
        text="A file for the supervisor's process id. One whose server runs is refused, one that "
        "a killed server left is replaced; it is removed at the end.",
    )
    log_level: str = setting(
        "info",
        values.one_of("debug", "info", "warning", "error", "critical"),
        "--log-level",
        metavar="LEVEL",
        remedy="give debug, info, warning, error or critical",
        topic="Logs",
        text="The least that is logged: debug, info, warning, error or critical. With debug, a "
        "command that fails shows its traceback.",
    )
    log_file: str = setting(
        "",
        str,
        "--log-file",
        metavar="PATH",
        remedy="give a path",
        topic="Logs",
        text="The file that the log is appended to, in place of standard error. One that was moved "
        "away is followed by a new one of the name, at the next record or at USR1.",
    )
    log_format: str = setting(
        "text",
        values.one_of("text", "json"),
        "--log-format",
        metavar="text|json",
        remedy="give text or json",
        topic="Logs",
        text="How a log record looks: a line to read, or a JSON object a line.",
    )
