"""The secrets directory: closed to others, with the right randomness, rotated without logging anyone out."""

import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from household import Household, declare, tokens_of
from mvsqlite_stack import archive
from mvsqlite_stack.errors import StackError
from mvsqlite_stack.secrets import CLOCK_SECONDS, KEYS, Kind, Secret, Secrets, needed
from mvsqlite_stack.signin import tokens
from mvsqlite_stack.signin.keys import Keys

SIGNING = Secret("signing", Kind.SIGNING)
TOKEN_SECONDS = 300
PASSPHRASE = "a long passphrase"


@pytest.fixture
def household(tmp_path: Path) -> Household:
    return declare(tmp_path, "kong")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases are for tests only here."""
    monkeypatch.setattr(archive, "SCRYPT_COST", 2**10)


class Clock:
    """Time that goes by when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rotated(household: Household, clock: Clock) -> Callable[[], dict[str, str]]:
    """Rotates the signing keys; gives the roles of all keys."""
    secrets = Secrets(household.secrets.directory, clock)

    def rotate() -> dict[str, str]:
        secrets.rotate(SIGNING, TOKEN_SECONDS)
        return roles(secrets)

    return rotate


def roles(secrets: Secrets) -> dict[str, str]:
    return {key.id: key.role for key in secrets.public_keys()}


def test_nobody_else_can_read_it(household: Household) -> None:
    directory = household.secrets.directory
    for path in [directory, *directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("name", [".", "signin", KEYS, f"{KEYS}/service.secret"])
@pytest.mark.parametrize("mode", [0o040, 0o004, 0o020, 0o002])
def test_what_others_can_reach_is_refused(household: Household, name: str, mode: int) -> None:
    path = household.secrets.directory / name
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(StackError, match=r"others can read it\. Close it with: chmod -R go="):
        household.secrets.public_keys()
    with pytest.raises(StackError, match="others can read it"):
        household.secrets.create(household.stack)


def test_creating_again_changes_nothing(household: Household) -> None:
    before = {path: path.read_bytes() for path in household.secrets.directory.rglob("*") if path.is_file()}
    assert household.secrets.create(household.stack) == ([], [])
    assert before == {path: path.read_bytes() for path in before}


def test_each_kind_has_its_randomness(tmp_path: Path) -> None:
    first, second = Secrets(tmp_path / "1"), Secrets(tmp_path / "2")
    for one in (first, second):
        one.rotate(Secret("apps/notes/KEY", Kind.TOKEN), TOKEN_SECONDS)
        one.rotate(Secret("service", Kind.BYTES), TOKEN_SECONDS)
    assert len(bytes.fromhex(first.read("apps/notes/KEY").decode())) == 32
    assert len(first.read("service")) == 32
    assert first.read("apps/notes/KEY") != second.read("apps/notes/KEY")


def test_what_others_give_is_kept_as_given(tmp_path: Path) -> None:
    secrets, secret = Secrets(tmp_path / "s"), Secret("buckets/b/access_key", Kind.GIVEN)
    with pytest.raises(StackError, match="no value was given"):
        secrets.rotate(secret, TOKEN_SECONDS)
    secrets.rotate(secret, TOKEN_SECONDS, b"given")
    assert secrets.read(secret.name) == b"given"


def test_the_sign_in_service_reads_the_same_keys(household: Household) -> None:
    ring = Keys(household.secrets.directory / KEYS).ring()
    assert {key.id: key.public_pem for key in ring.keys.values()} == {
        key.id: key.pem for key in household.secrets.public_keys()
    }
    assert ring.signing.id == household.secrets.signing_id()


def test_the_next_key_is_known_before_it_signs(
    household: Household, rotated: Callable[[], dict[str, str]]
) -> None:
    before = roles(household.secrets)
    after = rotated()
    signs = next(key for key, role in after.items() if role == "signs")
    assert before[signs] == "next"
    assert sorted(after.values()) == ["next", "retired", "signs"]


def test_the_previous_key_stays_until_its_tokens_have_ended(
    household: Household, clock: Clock, rotated: Callable[[], dict[str, str]]
) -> None:
    old = tokens_of(household.secrets)
    token, keys = old.good(), Keys(household.secrets.directory / KEYS)
    rotated()
    assert tokens.check(keys, token, old.claims()["iat"] + 1).user == "anna", "nobody is logged out"
    clock.now += TOKEN_SECONDS
    assert old.id in rotated()
    clock.now += CLOCK_SECONDS + 1
    assert old.id not in rotated()
    assert not (household.secrets.directory / KEYS / f"{old.id}.pem").exists()


def test_a_rotation_cut_short_loses_no_key(household: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    before = roles(household.secrets)
    whole = Secrets._write

    def fail(self: Secrets, name: str, data: bytes) -> None:
        if name.endswith("rotation.json"):
            raise OSError(28, "No space left on device", name)
        whole(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Secrets, "_write", fail)
        with pytest.raises(OSError, match="No space"):
            household.secrets.rotate(SIGNING, TOKEN_SECONDS)
    assert set(before) <= set(roles(household.secrets))
    household.secrets.rotate(SIGNING, TOKEN_SECONDS)
    assert set(before) <= set(roles(household.secrets))


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("20270101-x.pem", "garbage", "not a private key in PEM"),
        ("a b.pem", "garbage", "letters, digits and hyphens"),
        ("signing", "20270101-00000000", "no key here"),
    ],
)
def test_keys_that_kong_would_choke_on_are_found(
    household: Household, name: str, text: str, what: str
) -> None:
    path = household.secrets.directory / KEYS / name
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(StackError, match=what):
        household.secrets.public_keys()


def test_a_backup_gives_everything_back(household: Household, tmp_path: Path) -> None:
    file, again = tmp_path / "backup", tmp_path / "again"
    archive.back_up(household.secrets, file, PASSPHRASE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" not in file.read_bytes()
    archive.restore(again, file, PASSPHRASE)
    restored = Secrets(again)
    assert restored.public_keys() == household.secrets.public_keys()
    assert [restored.exists(secret) for secret in needed(household.stack)] == [True, True]


def test_a_plain_backup_is_a_tar_file(household: Household, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    archive.back_up(household.secrets, file, None)
    with tarfile.open(file) as tar:
        assert f"{KEYS}/signing" in tar.getnames()
    archive.restore(tmp_path / "again", file, None)
    assert Secrets(tmp_path / "again").public_keys() == household.secrets.public_keys()


@pytest.mark.usefixtures("quick")
def test_a_backup_that_cannot_be_opened_says_so(household: Household, tmp_path: Path) -> None:
    file, target = tmp_path / "backup", tmp_path / "again"
    with pytest.raises(StackError, match="passphrase is short"):
        archive.back_up(household.secrets, file, "short")
    archive.back_up(household.secrets, file, PASSPHRASE)
    with pytest.raises(StackError, match="exists already"):
        archive.back_up(household.secrets, file, PASSPHRASE)
    with pytest.raises(StackError, match="passphrase is another one"):
        archive.restore(target, file, "another passphrase")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(StackError, match="damaged"):
        archive.restore(target, file, PASSPHRASE)
    assert not target.exists()
