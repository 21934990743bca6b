"""Templates while the core works on them: an ordered multimap that can be changed.

``template.py`` reads OpenNebula's language into a frozen Template; the objects of the core hold one of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from onesim import template, xml

Vector = dict[str, str]
Value = str | Vector


@dataclass
class Attrs:
    """Name and value pairs; several of one name are kept in their order."""

    pairs: list[tuple[str, Value]] = field(default_factory=list)

    @classmethod
    def of(cls, parsed: template.Template) -> Attrs:
        """Copy a parsed template."""
        return cls([(name, value if isinstance(value, str) else dict(value)) for name, value in parsed.attributes])

    def copy(self) -> Attrs:
        return Attrs([(name, dict(value) if isinstance(value, dict) else value) for name, value in self.pairs])

    def text(self, name: str, default: str = "") -> str:
        """Return the first plain value of that name."""
        return next((value for key, value in self.pairs if key == name and isinstance(value, str)), default)

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.pairs)

    def vectors(self, name: str) -> list[Vector]:
        """Return all vectors of that name; changing one changes the template."""
        return [value for key, value in self.pairs if key == name and isinstance(value, dict)]

    def vector(self, name: str) -> Vector | None:
        return next(iter(self.vectors(name)), None)

    def add(self, name: str, value: Value) -> None:
        self.pairs.append((name, value))

    def drop(self, *names: str) -> None:
        self.pairs = [pair for pair in self.pairs if pair[0] not in names]

    def put(self, name: str, value: Value) -> None:
        """Replace every attribute of that name by one."""
        self.drop(name)
        self.add(name, value)

    def drop_vector(self, name: str, vector: Vector) -> None:
        self.pairs = [pair for pair in self.pairs if not (pair[0] == name and pair[1] is vector)]

    def merge(self, other: Attrs) -> None:
        """What the core calls append: attributes of ``other`` take the place of those of the same name."""
        self.drop(*{name for name, _ in other.pairs})
        self.pairs += other.copy().pairs

    def take(self, names: Iterable[str]) -> Attrs:
        """Move the attributes of these names into another multimap."""
        wanted = set(names)
        taken = Attrs([pair for pair in self.pairs if pair[0] in wanted])
        self.drop(*wanted)
        return taken

    def xml(self, tag: str = "TEMPLATE") -> str:
        """Return the element with the attributes in alphabetical order, as the core prints them."""
        ordered = sorted(self.pairs, key=lambda pair: pair[0])
        inner = "".join(_element(name, value) for name, value in ordered)
        return f"<{tag}>{inner}</{tag}>"


def _element(name: str, value: Value) -> str:
    if isinstance(value, str):
        return xml.cdata(name, value)
    return f"<{name}>{''.join(xml.cdata(key, value[key]) for key in sorted(value))}</{name}>"
