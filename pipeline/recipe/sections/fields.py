"""What all tables have in common: strictness, and the kinds of their values."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class Section:
    """Strict: an unknown key is an error, and every field's text becomes its reference."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def is_file_reference(value: str | None) -> bool:
    """Whether ``value`` is ``path/to/file.py:function``."""
    path, _, function = (value or "").rpartition(":")
    return path.endswith(".py") and function.isidentifier()


def as_table(value: object) -> Any:
    """Plain JSON values of a (nested) dataclass."""
    return (
        dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
    )
