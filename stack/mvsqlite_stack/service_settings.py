"""What the services' settings share: one TOML file each, named by a variable of the environment."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")


class SettingsError(ValueError):
    """The settings cannot be used; the message names the file, the key and what is wrong."""


class Model(BaseModel):
    """What all tables share: unknown keys are errors, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Settings = TypeVar("Settings", bound=Model)


def host_name(name: str) -> str:
    """The name, if it is one. Raises ValueError."""
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise ValueError(f"{name!r} is not a host name in lower case, such as notes.example.org")
    return name


Host = Annotated[str, AfterValidator(host_name)]


def read(kind: type[Settings], variable: str, path: Path | None) -> Settings:
    """The settings in a file; None: the one that the variable names. Raises SettingsError."""
    if path is None:
        named = os.environ.get(variable)
        if not named:
            raise SettingsError(f"{variable} names no settings file: set it to the path of one")
        path = Path(named)
    try:
        return kind.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{path}: {place}: {what}" if place else f"{path}: {what}") from error


def place(listen: str) -> dict[str, object]:
    """Where uvicorn listens. Raises SettingsError."""
    if listen.startswith("unix:"):
        return {"uds": listen.removeprefix("unix:")}
    address, _, port = listen.rpartition(":")
    if not address or not port.isdecimal():
        raise SettingsError(f"listen = {listen!r} is neither ADDRESS:PORT nor unix:PATH")
    return {"host": address.strip("[]"), "port": int(port)}
