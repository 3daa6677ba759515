"""``@dataclass(frozen=True, kw_only=True)`` without the generated code.

The standard decorator compiles six methods a class, 0.4 ms each time; envcheck has fifty such classes, and that was a
fifth of the wall time of `envcheck plan`. Here the classes share one ``__init__``, ``__eq__``, ``__hash__`` and
``__repr__``. They still are dataclasses: ``fields``, ``replace`` and ``is_dataclass`` work, and type checkers see the
standard decorator.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass", "field"]

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    field = dataclasses.field

    def dataclass(*, frozen: bool, kw_only: bool):
        """Only the one combination that envcheck uses; anything else is a mistake of the programmer."""
        if not (frozen and kw_only):
            raise TypeError("records are frozen and keyword-only")
        return _record


def _record(cls: Any) -> Any:
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # else dataclasses imports and calls inspect.signature for one
    cls = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    fields = dataclasses.fields(cls)
    missing = dataclasses.MISSING
    cls.__record_names__ = frozenset(f.name for f in fields)
    cls.__record_defaults__ = {f.name: f.default for f in fields if f.default is not missing}
    cls.__record_factories__ = tuple((f.name, f.default_factory) for f in fields if f.default_factory is not missing)
    for name in ("__init__", "__setattr__", "__delattr__", "__eq__", "__hash__", "__repr__"):
        if name not in cls.__dict__ or (name == "__hash__" and cls.__dict__[name] is None):
            setattr(cls, name, METHODS[name])
    return cls


def _init(self: Any, /, **values: Any) -> None:
    own = self.__dict__  # the class attributes below are what ``_record`` left
    own.update(self.__record_defaults__)
    for name, factory in self.__record_factories__:
        if name not in values:
            own[name] = factory()
    own.update(values)
    if own.keys() != self.__record_names__:
        unknown = sorted(own.keys() - self.__record_names__)
        absent = sorted(self.__record_names__ - own.keys())
        problem = f"unexpected {', '.join(unknown)}" if unknown else f"missing {', '.join(absent)}"
        raise TypeError(f"{type(self).__name__}: {problem}")


def _frozen(self: object, name: str, *value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _values(self: Any) -> tuple[Any, ...]:
    """In field order; what ``cached_property`` keeps beside them does not count."""
    return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def _eq(self: object, other: object) -> Any:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: object) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({shown})"


METHODS = {
    "__init__": _init,
    "__setattr__": _frozen,
    "__delattr__": _frozen,
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
}
