"""The arguments of ``farmhaul check``, and whether they go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import filterfalse

from tasks.intake.arguments import entries_of
from tasks.intake.command import ENQUEUE
from tasks.intake.errors import BadInputError
from tasks.intake.manifest import Entry
from tasks.intake.options import read_options
from tasks.transfer.targets import is_uuid


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be compared: files, a manifest, or what ftrack has."""

    paths: Sequence[str]
    manifest: str | None
    name: str | None
    component_ids: Sequence[str]
    version_ids: Sequence[str]
    folder: str | None
    only_in: str | None = None

    @property
    def is_listed(self) -> bool:
        """Whether ftrack is asked what there is, as no path is given."""
        return not self.paths and self.manifest is None

    def check(self) -> None:
        """Check that the arguments go together.

        Raises:
            BadInputError: they do not.
        """
        ids = (*self.component_ids, *self.version_ids)
        for one in filterfalse(is_uuid, ids):
            raise BadInputError(f"{one[:100]!r} is not a UUID; copy it from ftrack")
        if self.is_listed and (self.name is not None or self.only_in is not None or not ids):
            raise BadInputError(
                "name what to check: files, --manifest, --version-id or --component-id; "
                "see farmhaul check --help"
            )
        if not self.is_listed and (self.folder is not None or len(ids) > 1):
            raise BadInputError("--in and several ids are for a check without PATH and --manifest")
        if self.paths and self.manifest is None and not ids:
            raise BadInputError(
                f"{self.paths[0]} has no target; give the --version-id or --component-id under "
                "which it was uploaded"
            )

    def entries(self) -> list[Entry]:
        """Return the entries for paths or a manifest.

        Raises:
            BadInputError: they do not go together, or the manifest cannot be read.
        """
        given = {
            "component_id": next(iter(self.component_ids), None),
            "version_id": next(iter(self.version_ids), None),
            "name": self.name,
            "only_in": self.only_in,
            "manifest": self.manifest,
        }
        defaults, _ = read_options(ENQUEUE, [])
        return entries_of(self.paths, {**defaults, **given})
