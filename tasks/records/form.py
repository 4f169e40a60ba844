"""What a record says of a transfer: sealed, so that only workers read it, and signed by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from tasks.config.path_map import mapped
from tasks.config.sealing import Codec, Signer
from tasks.records.requests import transfer_from_record
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.targets import is_uuid


@dataclass(frozen=True, slots=True)
class RecordForm:
    """Reads transfers from the fields of records, and writes the fields.

    ``path_map`` says how this node reads paths (FARMHAUL_PATH_MAP), and ``signer`` signs what the
    record says is stored.
    """

    codec: Codec
    path_map: Sequence[tuple[str, str]]
    signer: Signer

    def read(
        self,
        upload_id: str,
        request: str,
        file: str = "",
        stored: tuple[str, str] = ("", ""),
        fence: int = 0,
        *,
        was_located: bool = False,
    ) -> Transfer:
        """Return the transfer that the fields of a record describe.

        ``stored`` are the fields ``stored`` and ``stored_seal``.

        Raises:
            SealBrokenError: a field was not sealed with this farm's key.
            ValueError: the request is another upload's, or of another version.
        """
        what = f"the record of upload {upload_id}"
        transfer = transfer_from_record(upload_id, self.codec.decode(request, what))
        path = mapped(transfer.path, self.path_map)
        if not file:
            return replace(transfer, path=path, fence=fence)
        fields = self.codec.decode(file, what)
        try:
            checksum = fields.pop("checksum")
            transfer = _in_component(transfer, fields.pop("component", ""))
            identity = FileIdentity(**fields)
        except (AttributeError, KeyError, TypeError):
            why = "was written by a version that this worker cannot read"
            raise ValueError(f"{what} {why}") from None
        known = replace(transfer, path=path, identity=identity, checksum=checksum, fence=fence)
        # Otherwise nothing is stored, or the bytes of another version of the file are, or somebody
        # else says so.
        fingerprint, seal = stored
        if not fingerprint or fingerprint != known.content_fingerprint:
            return known
        if self.signer.is_valid(seal, *_bytes_of(known, is_located=True)):
            # Without keys, every signature is valid, and the field alone counts.
            return replace(known, stored=True, was_located=was_located or bool(seal))
        is_stored = self.signer.is_valid(seal, *_bytes_of(known))
        return replace(known, stored=True, was_located=was_located) if is_stored else known

    def file_field(self, transfer: Transfer) -> str:
        """Return the value of the field ``file``: the file's identity and checksum."""
        known = asdict(transfer.known_identity) | {"checksum": transfer.checksum}
        if transfer.component_id != transfer.target.own_id:
            known["component"] = transfer.component_id
        return self.codec.encode(known)

    def stored_fields(self, transfer: Transfer) -> dict[str, str]:
        """Return the fields that say whether the bytes of a transfer are stored.

        The signature has a field of its own, because the scripts compare the other one. It also
        says whether ftrack has shown these bytes. From then on, they are stored only as long as
        ftrack has their location, even if somebody else removes the field ``located``.
        """
        if not transfer.stored:
            return {"stored": "", "stored_seal": ""}
        seal = self.signer.sign(*_bytes_of(transfer, is_located=transfer.was_located))
        return {"stored": transfer.content_fingerprint, "stored_seal": seal}

    def job_fields(self, transfer: Transfer) -> dict[str, str]:
        """Return the fields for encoding jobs; a worker sets the thumbnail that they name again."""
        version_id, thumbnail_id = transfer.encoded_version, transfer.thumbnail_id
        seal = self.signer.sign("thumbnail", transfer.upload_id, version_id, thumbnail_id)
        fields = {"version": version_id, "thumbnail": thumbnail_id, "thumbnail_seal": seal}
        return {"jobs": ",".join(transfer.job_ids), **fields}

    def is_own_thumbnail(
        self, upload_id: str, version_id: str, thumbnail_id: str, seal: str
    ) -> bool:
        """Return whether a worker has written what ``job_fields`` says of a thumbnail."""
        return self.signer.is_valid(seal, "thumbnail", upload_id, version_id, thumbnail_id)


def _in_component(transfer: Transfer, component_id: str) -> Transfer:
    """Return a transfer to the component of another program, if it uses one.

    Raises:
        TypeError: that is not the id of a component.
    """
    if not component_id:
        return transfer
    if not is_uuid(component_id):
        raise TypeError("component is not a UUID")
    return replace(transfer, target=transfer.target._replace(component_id=component_id))


def _bytes_of(transfer: Transfer, *, is_located: bool = False) -> tuple[str | int, ...]:
    """Return what bytes a component has, if the transfer is stored."""
    identity = transfer.known_identity
    ids = transfer.upload_id, transfer.component_id
    said = ("located",) if is_located else ()
    return *ids, identity.size_bytes, identity.mtime_ns, transfer.content_fingerprint, *said
