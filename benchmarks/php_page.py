"""What does a page of a PHP application cost?

A page opens the database with pdo_sqlite, asks ten questions and writes one row, as a page of Lychee
does; PHP is unmodified and runs under ``mvsqlite run``. Four workers behind PHP's own server, and
behind nginx and php-fpm where both are installed; as many clients as workers, and one alone.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.cluster_kit import Absent, percentile
from benchmarks.common import Contender, Figure, Question, Settings, compare, main

WORKERS = 4
READY_SECONDS = 30


def installed(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def fpm() -> str | None:
    versions = sorted(Path("/usr/sbin").glob("php-fpm*"))
    return str(versions[-1]) if versions else installed("php-fpm")


SERVERS = {"cli": "php -S"} | ({"fpm": "nginx and php-fpm"} if fpm() and installed("nginx") else {})
QUESTIONS = [
    question
    for server, label in SERVERS.items()
    for question in (
        Question(f"page.{server}.rate", f"{label}, {WORKERS} clients", "pages/s"),
        Question(f"page.{server}.p50", f"{label}, {WORKERS} clients, median", "ms", more_is_better=False),
        Question(f"page.{server}.p99", f"{label}, {WORKERS} clients, p99", "ms", more_is_better=False),
        Question(f"page.{server}.alone.p50", f"{label}, one client, median", "ms", more_is_better=False),
        Question(f"page.{server}.alone.p99", f"{label}, one client, p99", "ms", more_is_better=False),
    )
]

FILL = r"""<?php
$db = new PDO('sqlite:' . getenv('BENCH_DATABASE'));
$db->exec('PRAGMA journal_mode = ' . getenv('BENCH_JOURNAL'));
$db->exec('CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT);
           CREATE TABLE sessions(id INTEGER PRIMARY KEY, user_id INTEGER, visits INTEGER, payload TEXT);
           CREATE TABLE albums(id INTEGER PRIMARY KEY, user_id INTEGER, title TEXT);
           CREATE TABLE photos(id INTEGER PRIMARY KEY, album_id INTEGER, title TEXT, taken INTEGER);
           CREATE INDEX photos_by_album ON photos(album_id, taken)');
$db->beginTransaction();
$fill = function (int $rows, string $sql) use ($db) {
    $insert = $db->prepare($sql);
    for ($i = 1; $i <= $rows; $i++) {
        $insert->execute([$i]);
    }
};
$fill(100, "INSERT INTO users VALUES (?, 'user')");
$fill(1000, "INSERT INTO sessions VALUES (?1, ?1 % 100, 0, hex(randomblob(200)))");
$fill(500, "INSERT INTO albums VALUES (?1, ?1 % 100, 'album')");
$fill((int) $argv[1], "INSERT INTO photos VALUES (?1, ?1 % 500, 'photo', random())");
$db->commit();
"""

PAGE = r"""<?php
$db = new PDO('sqlite:' . getenv('BENCH_DATABASE'), null, null, [PDO::ATTR_TIMEOUT => 60]);
$db->exec('PRAGMA foreign_keys = 1');
$ask = function (string $sql, int ...$values) use ($db) {
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll(PDO::FETCH_ASSOC);
};
$id = (int) $_GET['id'];
$session = $ask('SELECT * FROM sessions WHERE id = ?', $id % 1000 + 1)[0];
$user = $ask('SELECT * FROM users WHERE id = ?', $id % 100 + 1)[0];
$albums = $ask('SELECT * FROM albums WHERE user_id = ? LIMIT 5', $user['id'] % 100);
foreach (range(0, 4) as $i) {
    $album = $albums[$i % count($albums)]['id'];
    $found[] = $ask('SELECT * FROM photos WHERE album_id = ? ORDER BY taken DESC LIMIT 20', $album % 500);
}
$found[] = $ask('SELECT count(*) AS n FROM photos WHERE album_id = ?', $id % 500);
$found[] = $ask('SELECT max(taken) AS newest FROM photos WHERE album_id = ?', $id % 500);
$db->prepare('UPDATE sessions SET visits = visits + 1 WHERE id = ?')->execute([$session['id']]);
echo json_encode([$user, $session['visits'], array_map('count', $found)]);
"""


# ---- servers ----------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def variables(contender: Contender, directory: Path) -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("MVSQLITE_", "LD_PRELOAD"))
    } | {
        "BENCH_DATABASE": str(directory.resolve() / "page.sqlite"),
        "BENCH_JOURNAL": contender.journal or "delete",
        "PHP_CLI_SERVER_WORKERS": str(WORKERS),
    }


def command(contender: Contender, directory: Path, words: Sequence[str | Path]) -> list[str]:
    """The words as this contender runs them."""
    told = [str(word) for word in words]
    if not contender.ours:
        return told
    start = [sys.executable, "-c", "from mvsqlite_py._cli.mvsqlite import main; main()", "run"]
    route = ["--store", f"lmdb:{directory}/store", "--map", f"{directory.resolve()}/page.sqlite=page"]
    return [*start, *route, "--", *told]


@contextlib.contextmanager
def running(words: Sequence[str], environment: dict[str, str], port: int) -> Iterator[None]:
    """A server that listens, and is stopped with its children."""
    with subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            deadline = time.monotonic() + READY_SECONDS
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{words[-1]} does not listen")
                threading.Event().wait(0.02)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=READY_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def built_in(contender: Contender, directory: Path) -> Iterator[int]:
    port = free_port()
    words = command(
        contender, directory, ["php", "-q", "-S", f"127.0.0.1:{port}", str(directory / "page.php")]
    )
    with running(words, variables(contender, directory), port):
        yield port


@contextlib.contextmanager
def pool(contender: Contender, directory: Path) -> Iterator[int]:
    port, behind = free_port(), free_port()
    user = "user = root\ngroup = root\n" if os.getuid() == 0 else ""
    (directory / "fpm.conf").write_text(
        f"[global]\nerror_log = {directory}/fpm.log\ndaemonize = no\n[pool]\nlisten = 127.0.0.1:{behind}\n"
        f"{user}pm = static\npm.max_children = {WORKERS}\nclear_env = no\n"
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; {'user root; ' if user else ''}worker_processes 1; pid nginx.pid;\n"
        "error_log nginx.err; events { worker_connections 64; }\n"
        "http { access_log off; client_body_temp_path body;\n"
        "fastcgi_temp_path f; proxy_temp_path p; scgi_temp_path s; uwsgi_temp_path u;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ include /etc/nginx/fastcgi_params;\n"
        f"fastcgi_param SCRIPT_FILENAME {directory}/page.php; fastcgi_pass 127.0.0.1:{behind}; }} }} }}"
    )
    php, nginx = fpm(), installed("nginx")
    assert php
    assert nginx
    words = command(contender, directory, [php, "-F", "-R", "-y", directory / "fpm.conf"])
    front = [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    environment = variables(contender, directory)
    with running(words, environment, behind), running(front, environment, port):
        yield port


# ---- the load ----------------------------------------------------------------------


def page(port: int, number: int) -> float:
    """Milliseconds until the page is there."""
    begin = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as wire:
        wire.sendall(f"GET /?id={number} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = b""
        while more := wire.recv(65536):
            answer += more
    if b" 200 " not in answer.split(b"\r\n", 1)[0] or not answer.endswith(b"]]"):
        raise RuntimeError(f"page {number}: {answer[-500:]!r}")
    return (time.perf_counter() - begin) * 1000


def load(port: int, clients: int, pages: int) -> tuple[float, list[float]]:
    """Pages a second, and milliseconds of each page."""
    times: list[float] = []
    problems: list[Exception] = []

    def client(seed: int) -> None:
        source = random.Random(seed)
        try:
            mine = [page(port, source.randrange(1 << 30)) for _ in range(pages // clients)]
        except Exception as error:
            problems.append(error)
        else:
            times.extend(mine)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    if problems:
        raise problems[0]
    return len(times) / seconds, times


def run(settings: Settings) -> list[Figure]:
    if not installed("php"):
        raise Absent("php is not installed: apt-get install php-cli php-sqlite3")
    pages, photos = settings.pick(2000, 400, 8), settings.pick(20_000, 20_000, 600)

    def prepare(contender: Contender, directory: Path) -> None:
        directory.chmod(0o755)
        for name, text in (("fill.php", FILL), ("page.php", PAGE)):
            (directory / name).write_text(text)
        words = command(contender, directory, ["php", str(directory / "fill.php"), str(photos)])
        subprocess.run(words, env=variables(contender, directory), check=True)

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        answers = {}
        for name in SERVERS:
            with (pool if name == "fpm" else built_in)(contender, directory) as port:
                load(port, WORKERS, 2 * WORKERS)  # every worker has begun
                rate, times = load(port, WORKERS, pages)
                alone = load(port, 1, pages // 4)[1]
            answers |= {
                f"page.{name}.rate": rate,
                f"page.{name}.p50": percentile(times, 0.5),
                f"page.{name}.p99": percentile(times, 0.99),
                f"page.{name}.alone.p50": percentile(alone, 0.5),
                f"page.{name}.alone.p99": percentile(alone, 0.99),
            }
        return answers

    return compare(settings, QUESTIONS, measure, prepare)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
