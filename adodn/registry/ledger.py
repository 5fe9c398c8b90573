"""What was moved in the registry, by whom and why: numbered objects on S3, and the last one says who holds which alias.

    ledger = Ledger(S3Store.from_settings(places), f"{places.registry_uri}/adodn-68")
    ledger.append(lambda number, now: Entry(number=number, action="promote", …, standing=now.with_champion(holder)))
    ledger.last().standing.champion

An entry is written under the number after the last, and only if nobody else has written it: the number is the lock. Of
several writers at once one is first; the others see its entry before they write theirs. Entries are never changed.

Not here: MLflow, which shows to the world what the ledger says (`aliases`).
"""

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from adodn.data.store import S3Store
from adodn.errors import DataError
from adodn.registry.judging import Row

Action = Literal["register", "promote", "refuse", "propose", "approve", "reject", "rollback"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Holder(_Record):
    """Who holds an alias."""

    version: int
    source: str
    """What MLflow calls the logged model; a number alone can come again, once a registered model was deleted."""


class Standing(_Record):
    """Who holds what, after an entry."""

    challenger: Holder | None = None
    champion: Holder | None = None
    awaiting: Holder | None = None
    """Passed the gate, and waits for a person's word."""

    def with_challenger(self, holder: Holder) -> "Standing":
        """After a registration."""
        return self.model_copy(update={"challenger": holder})

    def with_champion(self, holder: Holder) -> "Standing":
        """After a champion's move: who waits was compared with the one before, and waits no longer."""
        return self.model_copy(update={"champion": holder, "awaiting": None})

    def with_awaiting(self, holder: Holder | None) -> "Standing":
        """After a proposal, or its rejection."""
        return self.model_copy(update={"awaiting": holder})


class Entry(_Record):
    """One line of the ledger."""

    number: int
    action: Action
    """`refuse` and `propose` move nothing: the gate's values and the reason are kept all the same."""
    from_version: int | None
    """Who held the alias before: of a registration the challenger, of all others the champion."""
    to_version: int
    """Whom it is about."""
    who: str
    when: str
    """UTC, ISO 8601."""
    why: str
    gate: tuple[Row, ...] = ()
    """What the gate asked, and what it saw."""
    standing: Standing

    @property
    def alias(self) -> str | None:
        """The alias that it moved, if it moved one."""
        return {
            "register": "challenger",
            "promote": "champion",
            "approve": "champion",
            "rollback": "champion",
        }.get(self.action)

    def text(self) -> str:
        """In words, e.g. `entry 7: bob promoted version 3 at 2026-11-23T…`."""
        return f"entry {self.number}: {self.who} {_PAST[self.action]} version {self.to_version} at {self.when}"


_PAST: dict[Action, str] = {
    "register": "registered",
    "promote": "promoted",
    "refuse": "was refused",
    "propose": "proposed",
    "approve": "approved",
    "reject": "rejected",
    "rollback": "rolled back to",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The ledger of one registered model."""

    store: S3Store
    folder: str
    """`s3://BUCKET/registry/NAME`."""

    def last(self) -> Entry | None:
        """The newest entry, if there is one.

        Raises:
            DataError: If it is not what `append` wrote.
            StorageError: If the store does not answer.
        """
        number = self._count()
        return self._read(number) if number else None

    def standing(self) -> Standing:
        """Who holds what now."""
        last = self.last()
        return last.standing if last else Standing()

    def entries(self) -> list[Entry]:
        """All of them, oldest first."""
        return [self._read(number) for number in range(1, self._count() + 1)]

    def append(self, make: Callable[[int, Standing], Entry]) -> Entry:
        """Write the next entry.

        Args:
            make: Its entry, from its number and who holds what. Where another writer was faster it is asked again,
                with what is true then, and may raise instead.
        """
        while True:
            last = self.last()
            number, standing = (last.number, last.standing) if last else (0, Standing())
            entry = make(number + 1, standing)
            if self.store.put(self._address(entry.number), entry.model_dump_json().encode(), if_absent=True):
                return entry

    def _count(self) -> int:
        """By asking for single entries, which lie without gaps: no listing, which might lag."""
        beyond = 1
        while self._is_there(beyond):
            beyond *= 2
        return bisect.bisect_left(range(1, beyond), True, key=lambda number: not self._is_there(number))

    def _is_there(self, number: int) -> bool:
        return self.store.exists(self._address(number))

    def _read(self, number: int) -> Entry:
        address = self._address(number)
        try:
            entry = Entry.model_validate_json(self.store.get(address))
        except ValidationError as cause:
            first = cause.errors()[0]
            field = ".".join(str(step) for step in first["loc"])
            raise DataError(
                f"{address}: not an entry of a registry's ledger: {field or 'the whole'}: {first['msg']}; restore it"
            ) from None
        if entry.number != number:
            raise DataError(f"{address}: its number must be {number}, got {entry.number}; it was moved: restore it")
        return entry

    def _address(self, number: int) -> str:
        return f"{self.folder}/{number:06d}.json"
