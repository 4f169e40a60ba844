"""``NamedTuple`` for what a hook imports: ``typing`` would cost it a third of an empty Python.

A class below it is written and checked as one below ``typing.NamedTuple``, and becomes what
``collections.namedtuple`` makes. Its module needs ``from __future__ import annotations``.
"""

from __future__ import annotations

import collections

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:

    class _Maker(type):
        def __new__(cls, name: str, _: tuple[type, ...], members: dict[str, Any]) -> type:
            fields = members["__annotations__"]
            defaults = [members[field] for field in fields if field in members]
            made = collections.namedtuple(  # noqa: PYI024 this is in place of typing.NamedTuple
                name, fields, defaults=defaults, module=members["__module__"]
            )
            for member, value in members.items():
                if member not in fields:
                    setattr(made, member, value)
            return made

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
