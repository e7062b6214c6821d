"""``mvstack``, or the way to what it lacks."""

import sys


def main() -> None:
    """Runs the commands; their libraries come with the extra ``stack`` alone."""
    try:
        from mvsqlite_stack import cli

        cli.main()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mvsqlite"):
            raise
        sys.exit(f"mvstack: {error.name} is not installed: pip install 'mvsqlite-py[stack]'")


if __name__ == "__main__":
    main()
