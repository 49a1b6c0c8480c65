"""Which class both networks name for the samples of the test split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How many samples are named rightly by which network."""

    both: int
    only_dense: int
    only_compressed: int
    neither: int
    same: int
    """Both networks name the same class, right or wrong."""


@dataclass(frozen=True, kw_only=True)
class ClassPoints:
    """How many samples of one class are named rightly."""

    name: str
    samples: int
    dense: int
    compressed: int


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Samples by their class (row) and the class that a network names (column).

    Of many classes those that are confused most; a last column has whatever else is named then.
    """

    names: tuple[str, ...]
    """Of the rows, and of as many columns."""
    dense: tuple[tuple[int, ...], ...]
    compressed: tuple[tuple[int, ...], ...]
    of: int
    """Classes that there are."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A sample that the two networks name differently."""

    number: int
    """Place in the test split, from 0."""
    label: str
    """Its class."""
    dense: str
    """The class that the network names."""
    compressed: str
    picture: Annotated[str, Field(pattern=r"^(data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*)?$")]
    """What the network sees, as a data URI; empty where that is no picture."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Of every sample of the test split, which has one class each."""

    agreement: Agreement
    classes: tuple[ClassPoints, ...]
    """In the order of their numbers; those without samples are left out."""
    confusion: Confusion
    disagreements: tuple[Disagreement, ...]
    """A dozen of them."""


@dataclass(frozen=True, kw_only=True)
class SamplePictures:
    """A test sample as it is marked, as the dense network finds it and as the compressed one does, side by side."""

    number: int
    """Place in the test split, from 0."""
    picture: Annotated[str, Field(pattern=r"^data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*$")]
    """A data URI."""
    gained: float | None = None
    """Points that the compressed network gains on this sample alone; None where that is not known."""
