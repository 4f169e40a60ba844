"""The part of ftrack's query language that its clients and farmhaul use.

``[select a, b.c from] Type [where …] [order by …] [offset N] [limit N]``; see
https://developer.ftrack.com/api-clients/python/querying.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .comparison import Comparison
from .computed import COMPUTED
from .entities import Entities, Entity
from .errors import ParseError

Test: TypeAlias = Callable[[Entity], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
        |(?P<sign>[(),]|[!<>]=?|=)
        |(?P<word>[^\s(),"'!<>=]+))""",
    re.VERBOSE,
)
_OPERATORS = {"is", "is_not", "=", "!=", "like", "not_like", "in", "not_in"}
_OPERATORS |= {"<", ">", "<=", ">=", "before", "after"}
_SAME = {"=": "is", "!=": "is_not", "before": "<", "after": ">"}
_ENDS = {"order", "offset", "limit"}


@dataclass(frozen=True)
class Token:
    text: str
    quoted: bool = False


@dataclass
class Query:
    """A parsed expression."""

    entity_type: str
    projections: list[str] = field(default_factory=list)
    test: Test = lambda _: True
    #: Attributes to sort by, and whether each one descends.
    order: list[tuple[str, bool]] = field(default_factory=list)
    offset: int = 0
    limit: int | None = None


def run(entities: Entities, expression: str) -> dict[str, Any]:
    """Return the answer of the ``query`` operation to *expression*."""
    parser = _Parser(entities, expression)
    query = parser.parse()
    found = [entity for entity in entities.all(query.entity_type) if query.test(entity)]
    # Sorting is stable, so the last attribute comes first.
    for path, descends in reversed(query.order):
        found.sort(key=lambda entity: parser.sort_key(entity, path), reverse=descends)
    end = len(found) if query.limit is None else query.offset + query.limit
    return {
        "action": "query",
        "data": [
            _project(entities, entity, query.projections) for entity in found[query.offset : end]
        ],
        "metadata": {"next": {"offset": end if end < len(found) else None}},
    }


def _project(entities: Entities, entity: Entity, paths: list[str]) -> Entity:
    """Return *entity* with its keys and the attributes that *paths* name."""
    schema = entities.schema(entity["__entity_type__"])
    names = ["__entity_type__", *schema["primary_key"], *schema.get("system_projections", ())]
    answer: Entity = {name: entity[name] for name in names if name in entity}
    deeper: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        deeper.setdefault(name, [])
        if rest:
            deeper[name].append(rest)
    for name, rest_of_paths in deeper.items():
        if name not in schema["properties"]:
            continue  # an attribute of another subtype
        described = schema["properties"][name]
        if name in COMPUTED:
            answer[name] = COMPUTED[name](entities, entity)
            continue
        if "$ref" not in described and described.get("type") not in ("array", "mapped_array"):
            answer[name] = entity.get(name)
            continue
        related = entities.related(entity, name)
        if isinstance(related, list):
            answer[name] = [_project(entities, other, rest_of_paths) for other in related]
        else:
            answer[name] = related and _project(entities, related, rest_of_paths)
    return answer


class _Parser:
    def __init__(self, entities: Entities, expression: str) -> None:
        self._entities = entities
        self._expression = expression
        self._tokens: list[Token] = []
        position, text = 0, expression.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ParseError(
                    f"Could not parse expression {expression!r} at {text[position:]!r}"
                )
            position = match.end()
            if match["quoted"]:
                self._tokens.append(Token(re.sub(r"\\(.)", r"\1", match["quoted"][1:-1]), True))
            else:
                self._tokens.append(Token(match["sign"] or match["word"]))
        self._type = ""

    def parse(self) -> Query:
        projections: list[str] = []
        if self._take("select"):
            projections.append(self._next().text)
            while self._take(","):
                projections.append(self._next().text)
            self._expect("from")
        self._type = self._next().text
        schema = self._entities.schema(self._type)
        query = Query(self._type, projections or list(schema.get("default_projections", ())))
        for path in query.projections:
            self._check(path)
        if self._take("where"):
            query.test = self._either()
        while self._tokens:
            word = self._next().text
            if word == "order":
                self._expect("by")
                query.order = self._order()
            elif word in ("offset", "limit"):
                setattr(query, word, int(self._next().text))
            else:
                raise ParseError(f"Unexpected {word!r} in expression {self._expression!r}")
        return query

    def _order(self) -> list[tuple[str, bool]]:
        found: list[tuple[str, bool]] = []
        while True:
            path = self._next().text
            self._check(path)
            descends = self._take("desc") or self._take("descending")
            if not descends:
                _ = self._take("asc") or self._take("ascending")
            found.append((path, descends))
            if not self._take(","):
                return found

    def sort_key(self, entity: Entity, path: str) -> tuple[bool, Any]:
        """Return what an entity is sorted by; those without a value come last."""
        value = next(iter(self._values(entity, path)), None)
        if isinstance(value, dict):  # a time
            value = value.get("value")
        return value is None, "" if value is None else value

    def _either(self) -> Test:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return lambda entity: any(test(entity) for test in tests)

    def _both(self) -> Test:
        tests = [self._single()]
        while self._take("and"):
            tests.append(self._single())
        return lambda entity: all(test(entity) for test in tests)

    def _single(self) -> Test:
        if self._take("not"):
            inner = self._single()
            return lambda entity: not inner(entity)
        if self._take("("):
            grouped = self._either()
            self._expect(")")
            return grouped
        path = self._next().text
        operator = self._next().text
        if operator in ("any", "has"):
            return self._of_related(path)
        if operator in ("not", "is") and self._tokens and not self._tokens[0].quoted:
            if operator == "not" and self._tokens[0].text in ("in", "like"):
                operator = f"not_{self._next().text}"
            elif operator == "is" and self._take("not"):
                operator = "is_not"
        if operator not in _OPERATORS:
            raise ParseError(f"Unknown operator {operator!r} in {self._expression!r}")
        self._check(path)
        operator = _SAME.get(operator, operator)
        wanted = self._list() if operator in ("in", "not_in") else [self._value()]
        comparison = Comparison(operator, wanted)
        return lambda entity: comparison.holds(self._values(entity, path))

    def _of_related(self, path: str) -> Test:
        """Return the test whether any related entity fulfils the criteria in parentheses."""
        before, self._type = self._type, self._type_at(path.split("."))
        self._expect("(")
        inner = self._either()
        self._expect(")")
        self._type = before
        return lambda entity: any(inner(other) for other in self._related(entity, path))

    def _type_at(self, relations: list[str]) -> str:
        """Return the type that relations lead to; parent[Shot] names it."""
        entity_type = self._type
        for relation in relations:
            name, _, cast = relation.rstrip("]").partition("[")
            described = self._entities.attribute(entity_type, name)
            kind = described.get("$ref") or described.get("items", {}).get("$ref", "")
            entity_type = cast or kind
        return entity_type

    def _related(self, entity: Entity, path: str) -> list[Entity]:
        relation, _, rest = path.partition(".")
        name, _, cast = relation.rstrip("]").partition("[")
        found = self._entities.related(entity, name)
        others = found if isinstance(found, list) else [found] if found else []
        if cast:
            kinds = self._entities.concrete(cast)
            others = [other for other in others if other["__entity_type__"] in kinds]
        if not rest:
            return others
        return [one for other in others for one in self._related(other, rest)]

    def _check(self, path: str) -> None:
        *relations, last = path.split(".")
        entity_type = self._type_at(relations)
        known = (
            last in self._entities.schema(name)["properties"]
            for name in self._entities.concrete(entity_type)
            if name in self._entities.schemas
        )
        if not any(known):
            raise ParseError(f"Attribute {last!r} does not exist on {entity_type}")

    def _values(self, entity: Entity, path: str) -> list[Any]:
        relations, _, name = path.rpartition(".")
        if not relations:
            # "version is X" means the same as "version_id is X".
            described = self._entities.schema(entity["__entity_type__"])["properties"].get(name, {})
            key = self._entities.foreign_key(entity["__entity_type__"], name)
            return [entity.get(key if "$ref" in described else name)]
        others = self._related(entity, relations)
        return [value for other in others for value in self._values(other, name)]

    def _list(self) -> list[Any]:
        self._expect("(")
        if self._take(")"):
            raise ParseError(f"Empty list in expression {self._expression!r}")
        values: list[Any] = []
        while not self._take(")"):
            values.append(self._value())
            self._take(",")
        return values

    def _value(self) -> Any:
        token = self._next()
        if token.quoted:
            return token.text
        return {"none": None, "null": None, "true": True, "false": False}.get(
            token.text.lower(), token.text
        )

    def _next(self) -> Token:
        if not self._tokens:
            raise ParseError(f"Expression {self._expression!r} ends too early")
        return self._tokens.pop(0)

    def _take(self, text: str) -> bool:
        if self._tokens and not self._tokens[0].quoted and self._tokens[0].text.lower() == text:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ParseError(f"Expected {text!r} in expression {self._expression!r}")
