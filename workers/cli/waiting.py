"""How ``enqueue --wait`` prepares to wait: redis is imported when the requests have been sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.intake.command import Wait


def prepare() -> Wait:
    """Return what ``enqueue --wait`` waits with.

    Raises:
        SettingsError: the environment is not valid.
    """
    settings = Settings.from_environment()  # what is wrong there is said before anything is sent

    def wait(
        upload_ids: Sequence[str], entries: Sequence[bytes], timeout_s: float | None
    ) -> Sequence[tuple[str, str]]:
        # Workers take the requests in meanwhile: to import redis takes 0.2 s.
        from workers.cli.wait import wait

        return wait(settings, upload_ids, entries, timeout_s)

    return wait
