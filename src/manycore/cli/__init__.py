"""The command. One file a command, or a few that are one subject; loaded when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final, NoReturn

import click

from manycore.base import logs
from manycore.base.streams import fill_standard_descriptors
from manycore.errors import ExitCode, ManycoreError
from manycore.settings import variable

_HOMES: Final = {
    "serve": ".serve",
    "check": ".check",
    "map": ".map",
    "status": ".control",
    "reload": ".control",
    "scale": ".control",
    "stop": ".control",
    "dump": ".dump",
    "ps": ".ps",
    "state": ".state",
    "version": ".version",
}


class Commands(click.Group):
    """The commands, in the order in which the help shows them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click asks so
        """Names them."""
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Loads one: `serve` must not wait for what `ps` needs."""
        if cmd_name not in _HOMES:
            return None
        module = importlib.import_module(_HOMES[cmd_name], __name__)
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def manycore() -> None:
    """Puts work on every core, and loses none of it.

    `manycore COMMAND --help` says what a command does.
    """


def main() -> NoReturn:
    """Runs the command and exits; whatever goes wrong is one line on standard error."""
    fill_standard_descriptors()
    try:
        code = manycore.main(standalone_mode=False, prog_name="manycore")
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(ExitCode.USAGE)
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "manycore"
        logs.say(f"error: {message.rstrip('.')}; see: {command} --help")
        sys.exit(ExitCode.USAGE)
    except ManycoreError as error:
        if _debugging():
            raise
        logs.say(f"error: {error}")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(ExitCode.FAILED)
    except BrokenPipeError:  # whoever read our output, `head` say, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(ExitCode.FAILED)


def _debugging() -> bool:
    """Whether a traceback was asked for, however far the settings got."""
    arguments = " ".join(sys.argv).replace("=", " ").lower()
    asked = os.environ.get(variable("log_level"), "").lower() == "debug"
    return asked or "--log-level debug" in arguments
