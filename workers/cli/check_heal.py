"""``farmhaul check --enqueue``: what is missing in ftrack, or differs, is uploaded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tasks.config.hook_settings import HookSettings
from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.answer import upload_line
from tasks.intake.build import Component, Options, build_components, request_of
from tasks.intake.deliver import deliver
from tasks.intake.exit_codes import say
from tasks.intake.notation import parse
from tasks.intake.numbered import with_numbers
from tasks.intake.request import UploadRequest
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.states import LIVE
from tasks.records.status import Status
from tasks.transfer.compare import Compared
from workers.cli.check_files import Item, entries_for
from workers.cli.output import show

#: What the disk can heal.
HEALS = {"missing in ftrack", "differs", "size differs"}
LOOK = Options(allow_missing=True)


def enqueue_again(
    settings: Settings,
    hook: HookSettings,
    ended: Sequence[tuple[Item, Compared]],
    *,
    human: bool,
) -> None:
    """Enqueue the files that the disk can heal, and print a line for each upload.

    Raises:
        BadInputError: a file cannot be enqueued.
        InboxError: Redis does not take them.
        RedisError: Redis cannot be read.
    """
    items = [item for item, outcome in ended if outcome.state in HEALS and outcome.size_bytes != 0]
    if empty := sum(outcome.state in HEALS and outcome.size_bytes == 0 for _, outcome in ended):
        say(f"{empty} empty files are not enqueued; render them again, or use enqueue")
    if not items:
        return
    components = [one for [one] in build_components(entries_for(items), hook, LOOK)]
    sent = _sent(settings, components)
    shown = {item.pair.path for item in items if item.pair.is_located}
    requests = [
        request_of([part])
        for component in components
        for part in _parts(component, lambda file: file.path in shown and _id(file) in sent)
    ]
    delivered = deliver(requests, hook, say)
    for request, state in zip(requests, delivered.states, strict=True):
        show(upload_line(request, state, human=human))


def _sent(settings: Settings, components: Sequence[Component]) -> set[str]:
    """Return the ids of those uploads that farmhaul has made, so that it would not send a byte."""
    files = [file for component in components for file in component.files]
    status = Status(fail_fast_redis(settings), message_codec(settings))
    current = set(status.current([file.component_id for file in files]))
    ids = [one for one in map(_id, files) if one in current]
    states = zip(ids, status.find(ids), strict=True)
    return {one for one, upload in states if upload is not None and upload.state not in LIVE}


def _id(file: UploadRequest) -> str:
    return file._replace(is_member=file.target.container_id is not None).upload_id


def _parts(component: Component, is_sent: Callable[[UploadRequest], bool]) -> Iterator[Component]:
    """Yield a component with the files that are sent anyway, and with those that must be forced.

    farmhaul does not send a file again whose size and mtime are those that it has sent, as long as
    ftrack shows it. If the store has other bytes, only an upload without size and mtime does.
    """
    forced = {file.path for file in component.files if is_sent(file)}
    plain = tuple(file for file in component.files if file.path not in forced)
    others = tuple(
        file._replace(size_bytes=None, mtime_ns=None)
        for file in component.files
        if file.path in forced
    )
    for files in filter(None, (plain, others)):
        path = component.path
        if (frames := parse(path)) is not None and component.container is not None:
            path = str(with_numbers(frames, (int(str(file.target.name)) for file in files)))
        yield component._replace(path=path, files=files)
