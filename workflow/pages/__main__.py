"""The commands of `python -m workflow.pages`, which the workflow calls."""

import argparse
import json
import sys
from pathlib import Path

from forget_lib.core.errors import ForgetError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m workflow.pages", description="Run notebooks and write their pages.")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a notebook with parameters")
    run.add_argument("notebook", type=Path)
    run.add_argument("--parameters", default="{}", help="values by name, as JSON")
    run.add_argument("--output", type=Path, required=True, help="the executed notebook")
    run.add_argument("--page", type=Path, help="the same as HTML")
    run.add_argument("--log", type=Path, help="text of the cells; the executed copy stands beside it")
    page = commands.add_parser("page", help="write an executed notebook as HTML")
    page.add_argument("executed", type=Path)
    page.add_argument("page", type=Path)
    index = commands.add_parser("index", help="link all pages of a results folder")
    index.add_argument("folder", type=Path)
    against = commands.add_parser("compare", help="say how a results folder stands against the committed reference")
    against.add_argument("folder", type=Path)
    against.add_argument("--reference", type=Path, help="default: results/reference/PROFILE")
    failed = commands.add_parser("failures", help="print the ends of failed jobs' logs, and link what there is")
    failed.add_argument("folder", type=Path)
    warm = commands.add_parser("warm", help="serve kernels that have the libraries imported, while the parent runs")
    warm.add_argument("socket", type=Path, help="where to listen, in a folder of this user alone")
    warm.add_argument("parent", type=int, help="number of the process with which to end")
    return top


def _print_failures(folder: Path) -> list[str]:
    from workflow.pages.index import failures
    from workflow.pages.run import tail

    logs = failures(folder)
    for log in logs:
        print(f"\n{log.parent.name} {log.stem} did not end well. The end of {log}:\n{tail(log)}", file=sys.stderr)
    return [f"{log.parent.name} {log.stem}" for log in logs]


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; a mistake that the user can mend is one message and exit status 1."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "run":
            from workflow.pages.run import run_notebook

            parameters = json.loads(given.parameters)
            run_notebook(given.notebook, parameters, given.output, given.page, given.log)
        elif given.command == "warm":
            from workflow.pages import warm

            if (asked := warm.serve(given.socket, given.parent)) is not None:
                warm.become_kernel(asked)
        elif given.command == "page":
            from workflow.pages.page import export_html

            export_html(given.executed, given.page)
        elif given.command == "compare":
            from workflow.pages.compare import report

            print("\n".join(report(given.folder, given.reference)))
        else:
            from workflow.pages.index import write_index

            failed = _print_failures(given.folder) if given.command == "failures" else []
            print(write_index(given.folder, failed))
    except (ForgetError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped by the keyboard", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
