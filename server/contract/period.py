"""The rows of a data set that an answer is about: a trailing window, perhaps with the latest months held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from persistence.tables import Conflict, SbcValidation, StoredAttribution

DEFAULT_MONTHS = 24
_CENTURIES = 12_000
"""More months than any data set has."""


@dataclass(frozen=True)
class Period:
    """The last `months` calendar months of the data before the last `hold_out` ones."""

    months: int = DEFAULT_MONTHS
    hold_out: int = 0

    @staticmethod
    def whole() -> Period:
        """Every row of the data."""
        return Period(_CENTURIES)

    @staticmethod
    def asked(request: Any) -> Period:
        """The period of a request, 24 calendar months with nothing held out where it says nothing."""
        months = request.data_period_months if request.HasField("data_period_months") else DEFAULT_MONTHS
        return Period(int(months), int(request.hold_out_months))

    @staticmethod
    def of(row: Conflict | StoredAttribution | SbcValidation) -> Period:
        """The period of a stored answer."""
        return Period(row.data_period_months, row.hold_out_months)

    def __str__(self) -> str:
        before = f" before the last {self.hold_out}" if self.hold_out else ""
        return f"{self.months} months{before}"

    @property
    def key(self) -> list[int]:
        """What a digest is made of; without a hold-out the months alone, as before there were any."""
        return [self.months, self.hold_out] if self.hold_out else [self.months]
