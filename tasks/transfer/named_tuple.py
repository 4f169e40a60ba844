"""``NamedTuple`` for what a hook imports: made without ``typing``, ``collections`` and ``eval``.

A hook starts for every frame, and ``typing.NamedTuple`` would cost it as much as half an empty
Python. A class below this one is written and checked as one below ``typing.NamedTuple``, and
behaves alike. Its module needs ``from __future__ import annotations``.
"""

from __future__ import annotations

from _operator import itemgetter  # the module that has it in C; ``operator`` itself is slower

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple, Self
else:

    class _Fields(type):
        def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> type:
            if "__annotations__" in members:  # not a class below one with fields
                fields = tuple(members["__annotations__"])
                defaults = {field: members[field] for field in fields if field in members}
                getters = {field: property(itemgetter(index)) for index, field in enumerate(fields)}
                members = {**members, **getters, "_fields": fields, "_field_defaults": defaults}
                members.update(__slots__=(), __match_args__=fields)
            return type.__new__(cls, name, bases, members)

    class NamedTuple(tuple, metaclass=_Fields):
        """A tuple whose items have names."""

        __slots__ = ()

        def __new__(cls, *values: Any, **named: Any) -> Self:
            if named or len(values) != len(cls._fields):
                values = cls._completed(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _completed(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
            """Return a value for each field, given by its place, by its name, or by default."""
            defaults, rest = cls._field_defaults, cls._fields[len(values) :]
            try:
                values += tuple(
                    [named.pop(field) if field in named else defaults[field] for field in rest]
                )
            except KeyError as missing:
                raise TypeError(f"{cls.__name__} needs a value for {missing}") from None
            if named or len(values) > len(cls._fields):
                unexpected = ", ".join(map(repr, named)) or f"the last of {len(values)} values"
                raise TypeError(f"{cls.__name__} does not expect {unexpected}")
            return values

        @classmethod
        def _make(cls, values: Iterable[Any]) -> Self:
            return cls(*values)

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self))

        def _replace(self, **named: Any) -> Self:
            values = [named.pop(field, value) for field, value in zip(self._fields, self)]
            return type(self)(*values, **named)

        def __repr__(self) -> str:
            items = [f"{field}={value!r}" for field, value in self._asdict().items()]
            return f"{type(self).__name__}({', '.join(items)})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)
