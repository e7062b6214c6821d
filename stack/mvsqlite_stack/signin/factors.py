"""Second factors: codes of an authenticator app, and recovery codes for when it is lost.

What was used once is remembered in the activity database, so that setting the accounts database back
does not make a used code valid again.
"""

import hmac
import secrets
import time

import apsw
import pyotp
import segno

from mvsqlite_stack.signin.accounts import User
from mvsqlite_stack.signin.database import Databases
from mvsqlite_stack.signin.secret import Secret

STEP_SECONDS = 30
DIGITS = 6
STEPS_AROUND = 1
"""Steps before and after now that are accepted: telephones' clocks are off by some seconds."""
RECOVERY_CODES = 10
RECOVERY_LENGTH = 12
"""Characters of 32: 60 bits."""
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 characters, without what looks alike."""


class CodeError(ValueError):
    """The code is not accepted; the message says why, for whoever typed it."""


class Factors:
    """The second factors of users."""

    def __init__(self, databases: Databases, secret: Secret) -> None:
        self._accounts = databases.accounts
        self._activity = databases.activity
        self._secret = secret

    # ---- authenticator apps ----

    @staticmethod
    def new_totp_secret() -> str:
        return pyotp.random_base32()

    @staticmethod
    def totp_uri(secret: str, user: User, issuer: str) -> str:
        """What the authenticator app scans."""
        return pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name=issuer)

    @staticmethod
    def picture(uri: str) -> str:
        """A QR code as an SVG element."""
        return segno.make(uri, error="m").svg_inline(scale=5, border=3, dark="#000", light="#fff")

    def seal(self, user: User, secret: str) -> bytes:
        return self._secret.seal(f"totp:{user.id}", secret)

    def unseal(self, user: User, sealed: bytes) -> str:
        """Raises SecretError if it was sealed with another secret."""
        return self._secret.unseal(f"totp:{user.id}", sealed)

    def has_totp(self, user: User) -> bool:
        return self._sealed(user) is not None

    def _sealed(self, user: User) -> bytes | None:
        question = "SELECT secret FROM totp WHERE user = ?"
        row = self._accounts.read(lambda db: db.execute(question, (user.id,)).fetchone())
        return row[0] if row else None

    def add_totp(self, user: User, secret: str, code: str) -> None:
        """Adds an authenticator app that has just shown a right code. Raises CodeError."""
        self._accept(user, secret, code)
        sealed = self.seal(user, secret)
        statement = "INSERT OR REPLACE INTO totp VALUES (?, ?, ?)"
        self._accounts.write(
            f"authenticator app of {user.name} added by {user.name}",
            lambda db: db.execute(statement, (user.id, sealed, time.time())),
        )

    def remove_totp(self, user: User, by: str) -> None:
        self._accounts.write(
            f"authenticator app of {user.name} removed by {by}",
            lambda db: db.execute("DELETE FROM totp WHERE user = ?", (user.id,)),
        )

    def accept_totp(self, user: User, code: str) -> None:
        """Accepts a code once. Raises CodeError if it is wrong or was used, SecretError."""
        sealed = self._sealed(user)
        if sealed is None:
            raise CodeError("That code is not right.")
        self._accept(user, self.unseal(user, sealed), code)

    def _accept(self, user: User, secret: str, code: str) -> None:
        plain = "".join(code.split())
        now_step = int(time.time()) // STEP_SECONDS
        totp = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_SECONDS)
        steps = range(now_step - STEPS_AROUND, now_step + STEPS_AROUND + 1)
        # All are compared, so that the time taken does not tell which one it was.
        codes = {step: totp.generate_otp(step).encode() for step in steps}
        right = [step for step in steps if hmac.compare_digest(codes[step], plain.encode())]
        if not right:
            raise CodeError("That code is not right. The clock of your phone may be off.")
        if not self._use(f"totp:{user.id}", right[-1], f"{user.name} used a code of their app"):
            raise CodeError("That code was used already. Wait for the next one.")

    def _use(self, what: str, value: int, message: str) -> bool:
        """Notes a number, if it is above all noted before."""

        def note(db: apsw.Connection) -> bool:
            found = db.execute("SELECT value FROM last_used WHERE what = ?", (what,)).fetchone()
            if found and value <= found[0]:
                return False
            db.execute("INSERT OR REPLACE INTO last_used VALUES (?, ?)", (what, value))
            return True

        return self._activity.write(message, note)

    # ---- recovery codes ----

    def _hash(self, user: User, code: str) -> bytes:
        plain = "".join(one for one in code.lower() if one.isalnum())
        return self._secret.sign(f"recovery:{user.id}", plain).encode()

    def new_recovery_codes(self, user: User) -> list[str]:
        """Makes new codes in place of the old ones; shown once, kept as hashes."""
        codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
        rows = [(user.id, self._hash(user, code)) for code in codes]

        def replace(db: apsw.Connection) -> None:
            db.execute("DELETE FROM recovery_code WHERE user = ?", (user.id,))
            db.executemany("INSERT INTO recovery_code VALUES (?, ?)", rows)

        self._accounts.write(f"recovery codes of {user.name} made anew by {user.name}", replace)
        return codes

    def recovery_codes_left(self, user: User) -> int:
        question = "SELECT count(*) FROM recovery_code WHERE user = ?"
        return int(self._accounts.read(lambda db: db.execute(question, (user.id,)).get))

    def accept_recovery_code(self, user: User, code: str) -> None:
        """Accepts a code once. Raises CodeError."""
        hashed = self._hash(user, code)
        statement = "DELETE FROM recovery_code WHERE user = ? AND hash = ? RETURNING 1"
        question = "SELECT 1 FROM recovery_code WHERE user = ? AND hash = ?"
        values = (user.id, hashed)
        if not self._accounts.read(lambda db: db.execute(question, values).fetchone()):
            raise CodeError("That recovery code is not right, or was used already.")
        first = self._use(f"recovery:{hashed.decode()}", 1, f"{user.name} used a recovery code")
        taken = self._accounts.write(
            f"recovery code of {user.name} used", lambda db: db.execute(statement, values).fetchone()
        )
        if not (first and taken):
            raise CodeError("That recovery code was used already.")

    def reset(self, user: User, by: str) -> None:
        """Takes all second factors away, for someone who has lost them."""

        def delete(db: apsw.Connection) -> None:
            for table in ("totp", "recovery_code", "passkey"):
                db.execute(f"DELETE FROM {table} WHERE user = ?", (user.id,))

        self._accounts.write(f"second factors of {user.name} removed by {by}", delete)


def _recovery_code() -> str:
    text = "".join(secrets.choice(ALPHABET) for _ in range(RECOVERY_LENGTH))
    return "-".join(text[i : i + 4] for i in range(0, RECOVERY_LENGTH, 4))
