"""Passwords: argon2id, as costly for a name that does not exist as for one that does."""

import os
import secrets
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mvsqlite_stack.signin.settings import Argon2

BYTES_MAX = 1024
"""Longer ones are refused, so that nobody makes us hash megabytes."""
NAME_MIN = 4
"""Characters of a name that must not be in its password: shorter ones are in many words."""


class PasswordError(ValueError):
    """A new password is not good enough; the message says why, for its owner."""


class Passwords:
    """Hashes and checks. Only as many at once as there are processors: each takes much memory."""

    def __init__(self, cost: Argon2, length_min: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=cost.time, memory_cost=cost.memory_kib, parallelism=cost.parallelism
        )
        self._length_min = length_min
        self._turn = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._nobodys = self._hasher.hash(secrets.token_hex())

    def hash(self, password: str) -> str:
        with self._turn:
            return self._hasher.hash(_normal(password))

    def is_right(self, stored: str | None, password: str) -> bool:
        """Whether it is the password of that hash; None, for a user who is not there, takes as long."""
        plain = _normal(password)
        usable = len(plain.encode()) <= BYTES_MAX
        with self._turn:
            try:
                right = self._hasher.verify(stored or self._nobodys, plain if usable else "")
            except (VerificationError, InvalidHashError):
                return False
        return right and usable and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other costs than are set now."""
        return self._hasher.check_needs_rehash(stored)

    def demand(self, password: str, user: str) -> None:
        """Raises PasswordError if it will not do as a new password."""
        plain = _normal(password)
        if len(plain) < self._length_min:
            raise PasswordError(f"Use at least {self._length_min} characters. Four random words do well.")
        if len(plain.encode()) > BYTES_MAX:
            raise PasswordError(f"Use at most {BYTES_MAX} bytes.")
        if len(set(plain)) < 5:
            raise PasswordError("Use more than four different characters.")
        if len(user) >= NAME_MIN and user in plain.lower():
            raise PasswordError("Do not use your name in the password.")


def _normal(password: str) -> str:
    """The same text however a keyboard composed it."""
    return unicodedata.normalize("NFKC", password)
