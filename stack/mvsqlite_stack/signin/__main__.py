"""Runs the sign-in service by the settings file that ``MVSTACK_SIGNIN`` names."""

import sys

import uvicorn

from mvsqlite_stack.service_settings import SettingsError, place
from mvsqlite_stack.signin.keys import SigningKeyError
from mvsqlite_stack.signin.settings import Settings, read
from mvsqlite_stack.signin.web.app import create

HEAD_BYTES_MAX = 32 * 1024
"""Of request line and headers."""
KEEP_ALIVE_SECONDS = 10
CONNECTIONS_MAX = 512
"""At once, in one worker; more get 503."""
GRACE_SECONDS = 10
"""For requests under way when the service stops."""


def run(settings: Settings) -> None:
    """Serves until it is told to stop."""
    create(settings)  # what is wrong is said before any worker starts
    certificate, key = settings.tls_certificate, settings.tls_key
    uvicorn.run(
        "mvsqlite_stack.signin.web.app:create",
        factory=True,
        workers=settings.workers,
        ssl_certfile=certificate and str(certificate),
        ssl_keyfile=key and str(key),
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=CONNECTIONS_MAX,
        **place(settings.listen),  # type: ignore[arg-type]
    )


def main() -> None:
    try:
        run(read())
    except (SettingsError, SigningKeyError) as error:
        sys.exit(f"sign-in service: {error}")


if __name__ == "__main__":
    main()
