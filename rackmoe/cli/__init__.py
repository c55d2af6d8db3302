"""The command line: arguments in, exit code out."""

import importlib
import sys
import traceback
from typing import Any

import click

import rackmoe
from rackmoe.errors import CapacityError, InvariantError, RackmoeError

__all__ = ["EXIT_INTERNAL", "EXIT_NEGATIVE", "EXIT_NO_FIT", "EXIT_USAGE", "cli", "main"]

EXIT_NEGATIVE = 1
EXIT_USAGE = 2
EXIT_NO_FIT = 3
EXIT_INTERNAL = 4
EXIT_INTERRUPTED = 130

_COMMANDS = {
    "run": "Simulate a scenario and print what it reaches.",
    "list": "List the machines, models, backends, scenarios and traces that rackmoe ships.",
    "show": "Show a machine, model, backend or scenario, with its totals.",
    "schema": "Print the JSON Schema of a document.",
    "define": "Explain a metric: its definition and unit.",
    "doctor": "Check the installation and the shipped files.",
    "calibrate": "Fit the constants of the laws on the calibration files.",
    "validate": "Compare the laws with measured points.",
    "net": "Print what a collective costs over its size, beside measured points.",
    "study": "Answer questions about a scenario by running it with other settings.",
    "trace": "Import, describe, generate, fit and export traces.",
}


class _LazyGroup(click.Group):
    """A group that imports a command only when it runs, so that --help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"rackmoe.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"no such command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(rackmoe.__version__, prog_name="rackmoe")
def cli() -> None:
    """Simulate mixture-of-experts inference on racks of GPUs, and explain every number.

    Results go to standard output, progress and warnings to standard error.
    """


def _exit_code(error: RackmoeError) -> int:
    if isinstance(error, CapacityError):
        return EXIT_NO_FIT
    if isinstance(error, InvariantError):
        return EXIT_INTERNAL
    return EXIT_USAGE


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments after the program's name; those of the process by default.
    """
    try:
        code: Any = cli.main(args=arguments, prog_name="rackmoe", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = EXIT_INTERRUPTED
    except RackmoeError as error:
        prefix = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        click.echo(f"{prefix}{error}", err=True)
        code = _exit_code(error)
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    except Exception:  # noqa: BLE001  a bug: show where, and do not look like a negative verdict
        click.echo(traceback.format_exc().rstrip(), err=True)
        click.echo("internal error: please report it with the lines above", err=True)
        code = EXIT_INTERNAL
    sys.exit(code if isinstance(code, int) else 0)
