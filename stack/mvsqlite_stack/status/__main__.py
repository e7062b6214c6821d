"""Runs the status page by the settings file that ``MVSTACK_STATUS`` names."""

import asyncio
import logging
import sys
from types import FrameType

import uvicorn

from mvsqlite_stack.service_settings import SettingsError, place
from mvsqlite_stack.status.app import Service, create
from mvsqlite_stack.status.settings import Settings, read

HEAD_BYTES_MAX = 16 * 1024
KEEP_ALIVE_SECONDS = 10
CONNECTIONS_BESIDE_LISTENERS = 256
GRACE_SECONDS = 3
"""For requests under way when the service stops."""


class Server(uvicorn.Server):
    """Ends live connections when it is told to stop, for they would never end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.hub.close()
        super().handle_exit(sig, frame)


async def run(settings: Settings) -> None:
    """Serves until it is told to stop."""
    service = Service(settings)
    config = uvicorn.Config(
        create(service=service),
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        ws="none",
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=settings.listeners + CONNECTIONS_BESIDE_LISTENERS,
        **place(settings.listen),  # type: ignore[arg-type]
    )
    await Server(config, service).serve()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        asyncio.run(run(read()))
    except SettingsError as error:
        sys.exit(f"status page: {error}")


if __name__ == "__main__":
    main()
