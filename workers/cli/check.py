"""``farmhaul check``: compare files on disk with what ftrack has of them."""

from __future__ import annotations

import click

from tasks.config.settings import Settings
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import FAULT
from workers.cli import output


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--component-id",
    "component_ids",
    multiple=True,
    metavar="UUID",
    help="The component that PATH is the file of; without PATH, repeatable.",
)
@click.option(
    "--version-id",
    "version_ids",
    multiple=True,
    metavar="UUID",
    help="The version that PATH was uploaded to. Without PATH, all of it; repeatable.",
)
@click.option("--name", metavar="TEXT", help="The name of its component; by default as enqueue.")
@click.option("--only-in", metavar="LOCATION", help="As for enqueue: ftrack has the path alone.")
@click.option("--in", "folder", metavar="DIR", help="Without PATH: the folder with the files.")
@click.option("--manifest", metavar="FILENAME", help="A manifest, as for enqueue; - reads stdin.")
@click.option("--download", is_flag=True, help="Fetch files of which the store has no MD5.")
@click.option("--farm", is_flag=True, help="Let workers compare the files.")
@click.option("--enqueue", is_flag=True, help="Upload again what is missing in ftrack or differs.")
@output.json_option
def check(
    paths: tuple[str, ...],
    *,
    component_ids: tuple[str, ...],
    version_ids: tuple[str, ...],
    name: str | None,
    only_in: str | None,
    folder: str | None,
    manifest: str | None,
    download: bool,
    farm: bool,
    enqueue: bool,
    human: bool,
) -> None:
    """Compare files on disk with what ftrack has of them, by size and MD5.

    \b
    farmhaul check '/mnt/prod/sh010.%04d.exr' --version-id 9f1d…
    farmhaul check --manifest list.jsonl --enqueue
    farmhaul check --version-id 9f1d… --version-id 3a7f… --farm

    Without PATH, farmhaul's records tell where the files lie, or --in does.

    Each file is same, differs, size differs, missing in ftrack, missing on disk, not readable or
    not compared. Exits with 1 if any is not the same. On a terminal, these alone are shown.
    """  # noqa: D301 click takes \b for "do not wrap"
    settings = Settings.from_environment()
    if settings.ftrack is None:
        raise BadInputError(
            "FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not set, but farmhaul check "
            "calls ftrack from this node; set them"
        )
    from workers.cli.check_asked import Asked
    from workers.cli.check_here import check_here

    asked = Asked(paths, manifest, name, component_ids, version_ids, folder, only_in)
    how = {"farm": farm, "download": download, "enqueue": enqueue}
    if not check_here(settings, asked, **how, human=human):
        raise SystemExit(FAULT)
