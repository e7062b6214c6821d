"""Passkeys (WebAuthn): registered by a signed-in user, then enough to sign in by themselves.

They belong to the sign-in host, not to the whole domain, so that no app can ask for them. The
authenticator must have recognised its user (a finger, a face, a PIN), which makes two factors of one.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

import apsw
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mvsqlite_stack.signin.accounts import User
from mvsqlite_stack.signin.database import Databases
from mvsqlite_stack.signin.settings import Settings

LABEL_MAX = 60
"""Characters."""
PASSKEYS_MAX = 20
"""For one user."""
COLUMNS = "id, user, label, public_key, created"


class PasskeyError(ValueError):
    """The passkey is not accepted; the message says why, for its owner."""


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey of a user."""

    id: str
    """As the browser writes it: base64url."""
    user: str
    label: str
    public_key: bytes
    created: float


class Passkeys:
    """The passkeys of the accounts database."""

    def __init__(self, databases: Databases, settings: Settings) -> None:
        self._accounts = databases.accounts
        self._activity = databases.activity
        self._settings = settings

    def of(self, user: User) -> list[Passkey]:
        question = f"SELECT {COLUMNS} FROM passkey WHERE user = ? ORDER BY created"
        rows: list[Any] = self._accounts.read(lambda db: db.execute(question, (user.id,)).fetchall())
        return [Passkey(*row) for row in rows]

    def _find(self, id: str) -> Passkey | None:
        question = f"SELECT {COLUMNS} FROM passkey WHERE id = ?"
        row = self._accounts.read(lambda db: db.execute(question, (id,)).fetchone())
        return Passkey(*row) if row else None

    def registration(self, user: User) -> tuple[dict[str, Any], str]:
        """What ``navigator.credentials.create`` is given, and the challenge to remember."""
        options = generate_registration_options(
            rp_id=self._settings.sign_in_host,
            rp_name=self._settings.title,
            user_id=user.id.encode(),
            user_name=user.name,
            user_display_name=user.shown,
            exclude_credentials=[_descriptor(one) for one in self.of(user)],
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
        )
        return json.loads(options_to_json(options)), bytes_to_base64url(options.challenge)

    def register(self, user: User, answer: str, challenge: str, label: str) -> None:
        """Takes in what the browser answered. Raises PasskeyError."""
        if len(self.of(user)) >= PASSKEYS_MAX:
            raise PasskeyError(f"You have {PASSKEYS_MAX} passkeys. Remove one first.")
        try:
            checked = verify_registration_response(
                credential=answer,
                expected_challenge=base64url_to_bytes(challenge),
                expected_rp_id=self._settings.sign_in_host,
                expected_origin=self._settings.origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as error:
            raise PasskeyError("The passkey could not be added.") from error
        id = bytes_to_base64url(checked.credential_id)
        name = " ".join(label.split())[:LABEL_MAX] or "Passkey"

        def insert(db: apsw.Connection) -> None:
            if db.execute("SELECT 1 FROM passkey WHERE id = ?", (id,)).fetchone():
                raise PasskeyError("This passkey is registered already.")
            row = (id, user.id, name, checked.credential_public_key, time.time())
            db.execute(f"INSERT INTO passkey({COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)

        self._accounts.write(f"passkey {name!r} of {user.name} added by {user.name}", insert)
        self._count(id, checked.sign_count)

    def authentication(self, user: User | None) -> tuple[dict[str, Any], str]:
        """What ``navigator.credentials.get`` is given, and the challenge; user: None for anybody's."""
        options = generate_authentication_options(
            rp_id=self._settings.sign_in_host,
            allow_credentials=[_descriptor(one) for one in self.of(user)] if user else None,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return json.loads(options_to_json(options)), bytes_to_base64url(options.challenge)

    def authenticate(self, answer: str, challenge: str) -> Passkey:
        """The passkey with which the browser answered. Raises PasskeyError."""
        try:
            passkey = self._find(json.loads(answer)["id"])
            if passkey is None:
                raise PasskeyError("This passkey is not known here.")
            checked = verify_authentication_response(
                credential=answer,
                expected_challenge=base64url_to_bytes(challenge),
                expected_rp_id=self._settings.sign_in_host,
                expected_origin=self._settings.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=self._counted(passkey.id),
                require_user_verification=True,
            )
        except PasskeyError:
            raise
        except (WebAuthnException, ValueError, TypeError, KeyError, RecursionError) as error:
            raise PasskeyError("The passkey was not accepted.") from error
        if checked.new_sign_count and not self._count(passkey.id, checked.new_sign_count):
            raise PasskeyError("The passkey was not accepted.")
        return passkey

    def remove(self, user: User, id: str, by: str) -> bool:
        """Whether there was one."""
        statement = "DELETE FROM passkey WHERE user = ? AND id = ? RETURNING label"
        found = next((one for one in self.of(user) if one.id == id), None)
        if found is None:
            return False
        message = f"passkey {found.label!r} of {user.name} removed by {by}"
        self._accounts.write(message, lambda db: db.execute(statement, (user.id, id)).fetchone())
        return True

    # How often an authenticator says it has signed. It must grow: a copy of the key would fall behind.

    def _counted(self, id: str) -> int:
        question = "SELECT value FROM last_used WHERE what = ?"
        row = self._activity.read(lambda db: db.execute(question, (f"passkey:{id}",)).fetchone())
        return int(row[0]) if row else 0

    def _count(self, id: str, count: int) -> bool:
        def note(db: apsw.Connection) -> bool:
            what = f"passkey:{id}"
            found = db.execute("SELECT value FROM last_used WHERE what = ?", (what,)).fetchone()
            if found and count <= found[0]:
                return False
            db.execute("INSERT OR REPLACE INTO last_used VALUES (?, ?)", (what, count))
            return True

        return self._activity.write("a passkey was used", note)


def _descriptor(passkey: Passkey) -> PublicKeyCredentialDescriptor:
    return PublicKeyCredentialDescriptor(id=base64url_to_bytes(passkey.id))
