"""`winseed`: choose the verb, run it, turn errors into messages and exit codes.

Nothing is imported for a verb that is not called: `winseed --help` must be instant.
"""

import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from builder import __version__
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.console import Console

# A call is short and makes little garbage; at Python's 700 a large disc is walked over and over.
# One host stays below this; many hosts, or discs of many names, do not.
GC_THRESHOLD = 100_000
VERBS = {
    "init": "write a commented starter spec",
    "iso": "write the answer ISO of one host or of all",
    "handoff": "deliver the same plan by network boot, WDS or Hyper-V",
    "serve": "serve a network-boot tree in a lab",
    "plan": "print what would be built, or compare it with an existing ISO",
    "inspect": "show what is on a disc",
    "drivers": "show which driver serves each device of a machine",
    "lint": "judge any answer file, ISO or folder",
    "rehearse": "walk what Setup will do with these discs on this machine",
    "fetch": "download virtio-win.iso and check it",
    "noprompt": 'make a Windows ISO start without "Press any key"',
    "doctor": "check a cluster for what an installation needs",
    "deploy": "create a VM, install Windows on it, prove it, clean up",
    "dc": "domain controllers: print the runbook of a change",
    "reinstall": "install Windows anew on a VM that is there, its old disk kept",
    "settle": "finish a VM that was installed by hand from our ISO",
    "status": "show every run, where secrets lie, and what is left behind",
    "clean": "remove what runs have left behind, after asking",
    "field-report": "bundle a real run without its secrets, or judge a bundle",
    "schema": "print the JSON Schema of the spec, for editors",
}


class Verbs(click.Group):
    """The verbs, each in `builder/cli/<verb>.py` as a command named `command`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The verbs in the order a user meets them."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb that is called, and no other."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"builder.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, so that help imports none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def make_console(*, quiet: bool = False) -> "Console":
    """The console of this process: colours unless NO_COLOR, bars only on a terminal."""
    from builder.console import Console

    live = sys.stderr.isatty()
    color = live and not os.environ.get("NO_COLOR")
    return Console(stream=sys.stderr, live=live, color=color, quiet=quiet)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
@click.pass_context
def winseed(ctx: click.Context, debug: bool) -> None:
    """Windows Server installs itself on Proxmox VE, with nobody at the console."""
    ctx.ensure_object(dict)["debug"] = debug


def main() -> None:
    """Entry point: the only place that ends the process."""
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    # plugins of the environment have no business with specs; looking for them takes 15 ms
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = run(sys.argv[1:])
    gc.freeze()  # or the interpreter, ending, would visit every object once more: 0.1 s
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one call and return its exit code; see `errors.ExitCode`."""
    debug = "--debug" in arguments
    try:
        # without standalone mode click returns the code of `ctx.exit`, and verbs return nothing
        code = winseed.main(args=arguments, prog_name="winseed", standalone_mode=False)
    except WinseedError as error:
        if debug:
            import traceback

            traceback.print_exc()
        make_console().error(error)
        return error.code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)
        return ExitCode.SPEC
    except (KeyboardInterrupt, click.Abort):
        make_console().line("interrupted")
        return ExitCode.INTERRUPTED
    except SystemExit:
        # click ends so when the reader of stdout goes away (`winseed plan | head`): nothing failed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:
        if debug:
            raise
        # its text is not shown: nobody has looked at it for secrets
        make_console().error(
            WinseedError(
                f"{type(error).__name__}: this is a bug of winseed",
                code=ExitCode.BUG,
                hint="run it again as `winseed --debug ...` and report what it prints",
            )
        )
        return ExitCode.BUG
    return code if isinstance(code, int) else ExitCode.DONE
