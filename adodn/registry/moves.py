"""How aliases move: a move is an entry of the ledger first, and MLflow's alias after it. No alias moves otherwise.

    decision = promote(compare("adodn-68", Gate.default()), why="nightly")
    rollback("adodn-68", why="fails on profile faces")

A command that was killed anywhere is simply given again: what the ledger has and MLflow lacks is made up for first.
"""

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient

from adodn.errors import PromotionRefusedError
from adodn.mlflow_server import reaching
from adodn.registry.aliases import holder_of, ledger_of, publish, version_at
from adodn.registry.comparing import Comparison
from adodn.registry.judging import Row
from adodn.registry.ledger import Action, Entry, Holder, Ledger, Standing
from adodn.registry.loading import load_state
from adodn.registry.versions import CHAMPION, ModelVersion, connect


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What came of a promotion that was not refused."""

    outcome: Literal["promoted", "awaiting approval", "champion already"]
    version: int
    reason: str
    entry: int | None
    """Its number in the ledger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Open:
    """A registered model's ledger, and whoever writes to it."""

    name: str
    client: MlflowClient
    ledger: Ledger
    who: str

    def publish(self) -> bool:
        return publish(self.client, self.ledger, self.name)

    def entry(
        self, number: int, action: Action, before: Holder | None, to_version: int, why: str, standing: Standing
    ) -> Entry:
        return Entry(
            number=number,
            action=action,
            from_version=before.version if before else None,
            to_version=to_version,
            who=self.who,
            when=datetime.now(UTC).isoformat(),
            why=why,
            standing=standing,
        )

    def crown(self, action: Action, holder: Holder, why: str, seen: Standing, gate: tuple[Row, ...] = ()) -> Entry:
        """Make one champion, if the champion is still the one that was seen; publish it."""

        def make(number: int, now: Standing) -> Entry:
            if now.champion != seen.champion or (action == "approve" and now.awaiting != holder):
                raise PromotionRefusedError(f"another move of {self.name!r} came first: {self._last_move().text()}")
            entry = self.entry(number, action, now.champion, holder.version, why, now.with_champion(holder))
            return entry.model_copy(update={"gate": gate})

        written = self.ledger.append(make)
        self.publish()
        return written

    def refuse(self, version: int, why: str, gate: tuple[Row, ...] = ()) -> None:
        """Leave on record that somebody was refused, and why."""

        def make(number: int, now: Standing) -> Entry:
            entry = self.entry(number, "refuse", now.champion, version, why, now)
            return entry.model_copy(update={"gate": gate})

        self.ledger.append(make)

    def _last_move(self) -> Entry:
        return next(entry for entry in reversed(self.ledger.entries()) if entry.action not in ("refuse", "register"))


def challenge(version: ModelVersion, *, who: str | None = None, why: str) -> None:
    """Make a version the challenger.

    Raises:
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = connect()
    desk, holder = _open(version.name, client, who), holder_of(version)

    def make(number: int, now: Standing) -> Entry:
        return desk.entry(number, "register", now.challenger, holder.version, why, now.with_challenger(holder))

    with reaching(uri, f"make {version.uri} the challenger"):
        desk.ledger.append(make)
        desk.publish()


def promote(comparison: Comparison, *, why: str, who: str | None = None, by_hand: bool = False) -> Decision:
    """Let the challenger take the champion's place, if the gate let it through and nobody moved the champion since.

    Args:
        comparison: What the gate saw.
        why: What the ledger says.
        who: Whom the ledger names; the user of this process where not given.
        by_hand: Whoever passes waits for `approve`, whatever the gate says of that.

    Raises:
        PromotionRefusedError: If the gate refuses, or another move came first. The ledger has the refusal as well.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    version, verdict = comparison.challenger.version, comparison.verdict
    if verdict is None:
        reason = f"version {version} is champion already"
        return Decision(outcome="champion already", version=version, reason=reason, entry=None)
    uri, client = connect()
    desk = _open(comparison.name, client, who)
    with reaching(uri, f"promote version {version} of {comparison.name!r}"):
        if not verdict.passed:
            desk.refuse(version, f"{why} ({verdict.reason})", verdict.rows)
            raise PromotionRefusedError(f"version {version} of {comparison.name!r} stays challenger: {verdict.reason}")
        try:
            return _passed(desk, comparison, f"{why} ({verdict.reason})", verdict.rows, by_hand or comparison.by_hand)
        except PromotionRefusedError as cause:
            desk.refuse(version, f"{why} ({cause})", verdict.rows)
            raise


def approve(name: str, *, why: str, who: str | None = None) -> ModelVersion:
    """Say yes to whoever passed the gate and waits: its files are checked again, and it becomes champion.

    Raises:
        CheckpointError: If its files are not those that were registered.
        PromotionRefusedError: If nobody waits, or another move came first.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = connect()
    desk = _open(name, client, who)
    with reaching(uri, f"approve a version of {name!r}"):
        finished, last = desk.publish(), desk.ledger.last()
        if finished and last and last.action == "approve":  # what a crash left, and what is asked for now
            return _known(desk, last.standing.champion)
        seen = last.standing if last else Standing()
        version = _known(desk, _waiting(name, seen))
        load_state(version.uri)
        desk.crown("approve", holder_of(version), why, seen, _values(desk.ledger, version.version))
        return version


def reject(name: str, *, why: str, who: str | None = None) -> int:
    """Say no to whoever passed the gate and waits; its version.

    Raises:
        PromotionRefusedError: If nobody waits.
        StorageError: If the store does not answer.
    """
    uri, client = connect()
    desk = _open(name, client, who)

    def make(number: int, now: Standing) -> Entry:
        waiting = _waiting(name, now)
        return desk.entry(number, "reject", now.champion, waiting.version, why, now.with_awaiting(None))

    with reaching(uri, f"reject a version of {name!r}"):
        desk.publish()
        return desk.ledger.append(make).to_version


def rollback(name: str, *, why: str, to: int | None = None, who: str | None = None) -> ModelVersion:
    """Give the champion's place back.

    Args:
        name: Registered model, e.g. `adodn-68`.
        why: What the ledger says.
        to: A version that was champion before; the one that the champion took it from where not given.
        who: Whom the ledger names; the user of this process where not given.

    Returns:
        The champion now.

    Raises:
        CheckpointError: If the files of that version are not those that were registered.
        PromotionRefusedError: If there was no champion before, it was deleted, or another move came first.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = connect()
    desk = _open(name, client, who)
    with reaching(uri, f"roll back {name!r}"):
        finished, entries = desk.publish(), desk.ledger.entries()
        seen = entries[-1].standing if entries else Standing()
        if finished and to is None and entries[-1].action == "rollback":  # what a crash left, and is asked for now
            return _known(desk, seen.champion)
        target = _former(name, entries, seen) if to is None else _once_champion(name, entries, to)
        version = _known(desk, target)
        if target == seen.champion:
            return version
        load_state(version.uri)
        desk.crown("rollback", target, why, seen)
        return version


def audit(name: str) -> list[Entry]:
    """The ledger of a registered model, oldest first, once MLflow shows what it says.

    Raises:
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached, or never had such a model.
    """
    uri, client = connect()
    ledger = ledger_of(name)
    with reaching(uri, f"read the audit of {name!r}"):
        publish(client, ledger, name)
        entries = ledger.entries()
        if not entries:
            client.get_registered_model(name)  # refuses a name that never was
    return entries


def _open(name: str, client: MlflowClient, who: str | None) -> _Open:
    return _Open(name=name, client=client, ledger=ledger_of(name), who=who or getpass.getuser())


def _passed(desk: _Open, comparison: Comparison, why: str, gate: tuple[Row, ...], by_hand: bool) -> Decision:
    holder, seen = holder_of(comparison.challenger), comparison.standing
    reason = comparison.verdict.reason if comparison.verdict else ""
    if not by_hand:
        entry = desk.crown("promote", holder, why, seen, gate)
        return Decision(outcome="promoted", version=holder.version, reason=reason, entry=entry.number)

    def make(number: int, now: Standing) -> Entry:
        if now.champion != seen.champion:
            raise PromotionRefusedError(f"the champion of {desk.name!r} is another by now; compare again")
        entry = desk.entry(number, "propose", now.champion, holder.version, why, now.with_awaiting(holder))
        return entry.model_copy(update={"gate": gate})

    number = desk.ledger.append(make).number
    return Decision(outcome="awaiting approval", version=holder.version, reason=reason, entry=number)


def _waiting(name: str, standing: Standing) -> Holder:
    if standing.awaiting is None:
        raise PromotionRefusedError(f"no version of {name!r} awaits approval; `adodn promote --by-hand` proposes one")
    return standing.awaiting


def _values(ledger: Ledger, version: int) -> tuple[Row, ...]:
    """What the gate saw when a version was proposed."""
    proposals = [entry for entry in ledger.entries() if entry.action == "propose" and entry.to_version == version]
    return proposals[-1].gate if proposals else ()


def _crownings(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.alias == CHAMPION]


def _former(name: str, entries: list[Entry], standing: Standing) -> Holder:
    """Whom the champion took the place from, when it was promoted."""
    champion = standing.champion
    if champion is None:
        raise PromotionRefusedError(f"{name!r} has no {CHAMPION} to roll back")
    taken = [
        number
        for number, entry in enumerate(entries)
        if entry.action in ("promote", "approve") and entry.standing.champion == champion
    ]
    before = entries[taken[-1] - 1].standing.champion if taken and taken[-1] else None
    if before is None:
        raise PromotionRefusedError(
            f"version {champion.version} of {name!r} is the first {CHAMPION}; there is none to go back to"
        )
    return before


def _once_champion(name: str, entries: list[Entry], version: int) -> Holder:
    held = [entry.standing.champion for entry in _crownings(entries) if entry.to_version == version]
    if not held or held[-1] is None:
        known = ", ".join(map(str, sorted({entry.to_version for entry in _crownings(entries)}))) or "none"
        raise PromotionRefusedError(
            f"version {version} of {name!r} never was {CHAMPION}, these were: {known}; others go by `adodn promote`"
        )
    return held[-1]


def _known(desk: _Open, holder: Holder | None) -> ModelVersion:
    version = version_at(desk.client, desk.name, holder)
    if version is None:
        number = holder.version if holder else "none"
        known = sorted({entry.to_version for entry in _crownings(desk.ledger.entries())})
        raise PromotionRefusedError(
            f"version {number} of {desk.name!r} was deleted from MLflow; champions so far: "
            f"{', '.join(map(str, known))}; name one that is there by `adodn rollback --to VERSION`"
        )
    return version
