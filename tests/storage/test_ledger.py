"""The registry's ledger on a real S3 server: one writer a number, and nothing but what was written.

pytest tests/storage/test_ledger.py
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from adodn.data.store import S3Store
from adodn.errors import DataError, StorageError
from adodn.registry.ledger import Action, Entry, Holder, Ledger, Standing
from tests.fault_proxy import FaultProxy, lost_answer

WRITERS = 20


@pytest.fixture
def ledger(s3: S3Store, s3_folder: str) -> Ledger:
    return Ledger(store=s3, folder=s3_folder)


def an_entry(number: int, now: Standing, version: int = 1, action: Action = "promote") -> Entry:
    holder = Holder(version=version, source=f"models:/m-{version}")
    return Entry(
        number=number,
        action=action,
        from_version=now.champion.version if now.champion else None,
        to_version=version,
        who="ann",
        when="2026-11-23T00:00:00+00:00",
        why="test",
        standing=now.with_champion(holder),
    )


def test_entries_come_back_in_order(ledger: Ledger) -> None:
    """Any number of them, the last found without a listing; an empty ledger has none."""
    assert ledger.last() is None and ledger.entries() == [] and ledger.standing() == Standing()

    for version in range(1, 8):
        written = ledger.append(lambda number, now, version=version: an_entry(number, now, version))  # type: ignore[misc]
        assert ledger.last() == written and written.number == version

    assert [entry.to_version for entry in ledger.entries()] == list(range(1, 8))
    assert [entry.from_version for entry in ledger.entries()] == [None, *range(1, 7)]


def test_twenty_writers_each_get_a_number_of_their_own(ledger: Ledger) -> None:
    """None overwrites another, and each sees what stood before its own entry."""
    barrier = Barrier(WRITERS)

    def write(version: int) -> Entry:
        barrier.wait()
        return ledger.append(lambda number, now: an_entry(number, now, version))

    with ThreadPoolExecutor(WRITERS) as pool:
        written = list(pool.map(write, range(1, WRITERS + 1)))

    entries = ledger.entries()
    assert sorted(entry.number for entry in written) == list(range(1, WRITERS + 1))
    assert entries == sorted(written, key=lambda entry: entry.number)
    assert [entry.from_version for entry in entries] == [None, *(entry.to_version for entry in entries[:-1])]


def test_fault_16_an_entry_whose_answer_was_lost_is_written_once(ledger: Ledger) -> None:
    """The writer knows its own entry again."""
    with FaultProxy(ledger.store.endpoint_url) as proxy:
        proxy.spoil("PUT", "000001.json", lost_answer)
        through = replace(ledger, store=replace(ledger.store, endpoint_url=proxy.url, pause_s=0.01))
        assert through.append(an_entry).number == 1

    assert len(ledger.entries()) == 1


def test_a_writer_may_think_better_of_it(ledger: Ledger) -> None:
    """What `make` raises comes through, and nothing is written."""
    ledger.append(an_entry)

    def refuse(number: int, now: Standing) -> Entry:
        assert (number, now.champion) == (2, Holder(version=1, source="models:/m-1"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.append(refuse)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an entry"),
        (b"{}", "number: Field required"),
        (b'{"number": 1', "not an entry"),
        (an_entry(2, Standing()).model_dump_json().encode(), "its number must be 1, got 2"),
        (
            an_entry(1, Standing()).model_dump_json().replace("ann", "ann\\u0000", 1).encode()[:-1] + b',"x":1}',
            "x: Extra",
        ),
    ],
)
def test_a_damaged_entry_is_named(ledger: Ledger, content: bytes, words: str) -> None:
    """Its address, and what is wrong; nothing is guessed."""
    ledger.store.put(f"{ledger.folder}/000001.json", content)

    with pytest.raises(DataError, match=r"000001\.json") as refused:
        ledger.last()
    assert words in str(refused.value)


def test_a_store_that_is_away_is_an_error(ledger: Ledger) -> None:
    """And not an empty ledger."""
    away = replace(ledger, store=replace(ledger.store, endpoint_url="http://127.0.0.1:9", attempts=1))

    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9"):
        away.last()
