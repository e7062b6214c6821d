"""Runs notes_app.cjs and talks to it."""

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from node_programs import Setup, environment

APP = Path(__file__).parent / "notes_app.cjs"
PATIENCE = 30


class Notes:
    """The running app."""

    def __init__(self, process: subprocess.Popen[str], client: httpx.Client) -> None:
        self.process = process
        self.client = client
        self.errors: list[str] = []

    def __call__(self, method: str, path: str, **body: Any) -> Any:
        """One request; answers that tell of an error carry its name, code and message."""
        return self.client.request(method, path, json=body or None).json()

    def titles(self, way: str = "notes") -> list[str]:
        return [note["title"] for note in self("GET", f"/{way}")]

    def kill(self) -> None:
        """As a power cut would: what SQLite left beside the file stays."""
        self.process.kill()
        self.process.wait(PATIENCE)


def collect(notes: Notes) -> None:
    assert notes.process.stderr
    notes.errors.extend(notes.process.stderr)


@contextmanager
def running(
    setup: Setup, *arguments: str | Path, by: Sequence[str] = (), **variables: str | None
) -> Iterator[Notes]:
    """The app on a file, until the end of the block; it has said nothing but its port, in any case.

    `by` is a command that starts it.
    """
    process = subprocess.Popen(
        [*by, setup.program, str(APP), *map(str, arguments)],
        env=environment(setup, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    with process:
        try:
            port = process.stdout.readline().strip()
            assert port.isdigit(), process.communicate()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
                notes = Notes(process, client)
                reader = threading.Thread(target=collect, args=(notes,))
                reader.start()
                yield notes
        finally:
            process.terminate()
            process.wait(PATIENCE)
        reader.join(PATIENCE)
        assert process.stdout.read() == "", "nothing of ours on its standard output"


def work(notes: Notes, directory: Path) -> Iterator[tuple[str, Any]]:
    """A day of work: what was asked, and the answer."""

    def ask(method: str, path: str, **body: Any) -> tuple[str, Any]:
        return f"{method} {path} {json.dumps(body)[:60]}", notes(method, path, **body)

    yield ask("POST", "/notes", title="first", text="hello", blob=10)
    yield ask("POST", "/notes", title="big", blob=3_000_000)
    many = [{"title": f"n{n}" if n % 5 else None, "blob": n * 100} for n in range(60)]
    yield ask("POST", "/many", notes=many)
    yield ask("GET", "/notes")
    yield ask("GET", "/shared")
    yield ask("GET", "/blob/2")
    for ids in ([1, 2, 3], [50, 7, 1000], list(range(40))):
        yield ask("POST", "/by-ids", ids=ids)
    yield ask("DELETE", "/note/5")
    yield ask("GET", "/check")
    yield ask("POST", "/migrate")
    yield ask("POST", "/notes", title="after the migration")
    yield ask("POST", "/migrate")  # refused: the index is there; the whole transaction is taken back
    yield ask("GET", "/shared")
    yield ask("POST", "/vacuum")
    yield ask("GET", "/check")
    yield ask("POST", "/backup", to=str(directory / "backup.sqlite"))
    yield ask("POST", "/vacuum-into", to=str(directory / "into.sqlite"))
    yield ask("POST", "/vacuum-into", to=str(directory / "into.sqlite"))  # refused: the file exists
    yield ask("GET", "/notes")
