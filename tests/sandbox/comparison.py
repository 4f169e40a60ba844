"""How the query language compares an attribute's values with those in the expression."""

from __future__ import annotations

import fnmatch
import operator
import re
from typing import Any

_NEGATED = {"is_not": "is", "not_in": "in", "not_like": "like"}
_ORDERED = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}


class Comparison:
    """One condition; it holds for an entity if it holds for any of its values."""

    def __init__(self, name: str, wanted: list[Any]) -> None:
        self._negated = name in _NEGATED
        self._name = _NEGATED.get(name, name)
        self._wanted = wanted
        # A set, because farmhaul asks for fifty ids at once.
        self._texts = {value for value in wanted if isinstance(value, str)}

    def holds(self, values: list[Any]) -> bool:
        if self._negated and self._wanted == [None]:
            return any(value is not None for value in values)
        return any(self._matches(value) for value in values) != self._negated

    def _matches(self, value: Any) -> bool:
        if value is None or isinstance(value, bool):
            return self._name in ("is", "in") and any(value is other for other in self._wanted)
        if isinstance(value, dict):
            value = value["value"]  # a time
        if self._name in ("is", "in"):
            return str(value) in self._texts
        [wanted] = self._wanted
        if wanted is None:
            return False
        if self._name == "like":
            # In fnmatch only ? * [ are special; ftrack's are % and _.
            pattern = re.sub(r"([?*[])", r"[\1]", str(wanted)).replace("%", "*").replace("_", "?")
            return fnmatch.fnmatchcase(str(value).lower(), pattern.lower())
        if isinstance(value, int | float):
            return bool(_ORDERED[self._name](value, float(wanted)))
        return bool(_ORDERED[self._name](value, str(wanted)))
