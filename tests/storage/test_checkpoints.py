"""A run's checkpoints on a real store: what is gone on from when some are damaged, and who may save.

pytest tests/storage/test_checkpoints.py
"""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from adodn.data.store import S3Store
from adodn.errors import CheckpointError, StorageError
from adodn.train import checkpoint
from adodn.train.checkpoint_index import INDEX
from adodn.train.checkpoints import Checkpoints, read_best
from adodn.train.state import FORMAT, TrainState
from tests.fault_proxy import FaultProxy, answer, late, lost_answer
from tests.memory_training import small_config, small_state

pytestmark = pytest.mark.integration
ALWAYS = 10**6


@pytest.fixture
def state() -> TrainState:
    return small_state(small_config())


@pytest.fixture
def proxy(s3: S3Store) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint_url) as proxy:
        yield proxy


def save(kept: Checkpoints, state: TrainState, *errors: float | None) -> None:
    """One checkpoint for each validation error, an epoch apart; None: between epochs."""
    for error in errors:
        state.epoch, state.step = state.epoch + (error is not None), state.step + 1
        kept.add(state, error)


def begun(s3: S3Store, base_uri: str, state: TrainState, *errors: float | None) -> dict[str, Any]:
    """A run that was left with these checkpoints; answers its list."""
    with Checkpoints(s3, base_uri) as kept:
        assert kept.claim() is None
        save(kept, state, *errors)
    return listed(s3, base_uri)


def listed(s3: S3Store, base_uri: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(s3.get(f"{base_uri}/{INDEX}"))
    return tree


def file_of(base_uri: str, entry: dict[str, Any]) -> str:
    return f"{base_uri}/{entry['folder']}/{checkpoint.FILE_NAME}"


def epoch_in(content: bytes | None) -> int:
    assert content is not None
    return int(checkpoint.read(io.BytesIO(content), "here")["epoch"])


def files(s3: S3Store, base_uri: str) -> list[str]:
    return sorted(info.uri for info in s3.list(base_uri) if info.uri.endswith(checkpoint.FILE_NAME))


def flip(s3: S3Store, uri: str) -> None:
    content = bytearray(s3.get(uri))
    content[len(content) // 2] ^= 1
    s3.put(uri, bytes(content))


def cut(s3: S3Store, uri: str) -> None:
    s3.put(uri, s3.get(uri)[:1000])


def test_the_best_and_the_last_two_are_kept(s3: S3Store, s3_folder: str, state: TrainState) -> None:
    """The earlier of equals is the best, one between epochs never is; of the others no file is left."""
    index = begun(s3, s3_folder, state, 0.3, None, 0.1, None, 0.1, 0.2)
    best, epochs = read_best(s3, s3_folder)

    assert [entry["epoch"] for entry in index["latest"]] == [4, 3]
    assert (best.epoch, best.val_nme, epochs) == (2, 0.1, 4)
    assert files(s3, s3_folder) == sorted(file_of(s3_folder, entry) for entry in [*index["latest"], index["best"]])


def test_a_copy_of_the_state_is_saved(state: TrainState) -> None:
    """What happens to the state afterwards, in tensors or in lists, is not in the copy."""
    state.epoch_sums, state.epoch_steps, state.loader = {"loss": 1.0}, [[1.0]], {"epoch": 0}
    copied = checkpoint.snapshot(state)
    before = checkpoint.to_bytes(copied)
    with torch.no_grad():
        for tensor in [*state.network.parameters(), *state.network.buffers()]:
            tensor.add_(1)
    state.epoch_sums["loss"], state.loader["epoch"] = 2.0, 1
    state.epoch_steps.append([2.0])

    assert checkpoint.to_bytes(copied) == before
    assert (
        copied["epoch_sums"] == {"loss": 1.0} and copied["epoch_steps"] == [[1.0]] and copied["loader"] == {"epoch": 0}
    )


@pytest.mark.parametrize("damage", [flip, cut, S3Store.delete])
def test_a_damaged_last_checkpoint_costs_an_epoch(
    s3: S3Store, s3_folder: str, state: TrainState, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 36: the one before is gone on from, with a warning that names both; the damaged one is not on the list any
    more, neither as the last nor as the best, and its file is deleted with the next one.
    """
    last, before = begun(s3, s3_folder, state, 0.3, 0.2, 0.1)["latest"]
    damage(s3, file_of(s3_folder, last))

    with Checkpoints(s3, s3_folder) as kept:
        assert epoch_in(kept.claim()) == 2
        state.epoch = 2
        save(kept, state, 0.15)
    index = listed(s3, s3_folder)

    (warning,) = caplog.messages
    assert file_of(s3_folder, last) in warning and f"going on at {file_of(s3_folder, before)} instead" in warning
    assert [entry["epoch"] for entry in index["latest"]] == [3, 2]
    assert (index["latest"][1], index["best"]) == (before, index["latest"][0])
    assert file_of(s3_folder, last) not in files(s3, s3_folder)


def test_the_best_is_what_is_left_where_the_last_two_are_damaged(
    s3: S3Store, s3_folder: str, state: TrainState
) -> None:
    """It may lie far back, and is still better than nothing."""
    for entry in begun(s3, s3_folder, state, 0.1, 0.2, 0.3)["latest"]:
        flip(s3, file_of(s3_folder, entry))

    assert epoch_in(Checkpoints(s3, s3_folder).claim()) == 1


def test_where_none_is_whole_there_is_one_error(s3: S3Store, s3_folder: str, state: TrainState) -> None:
    """It names all of them and the way out; training from the start under this name would hide the loss."""
    index = begun(s3, s3_folder, state, 0.2, 0.1)
    flip(s3, file_of(s3_folder, index["latest"][0]))
    s3.delete(file_of(s3_folder, index["latest"][1]))

    with pytest.raises(CheckpointError, match=r"epoch2_.* is damaged.*epoch1_.* is missing; train again under a new"):
        Checkpoints(s3, s3_folder).claim()
    with pytest.raises(CheckpointError, match=r"epoch2_.* is damaged"):
        read_best(s3, s3_folder)


def test_a_store_that_is_away_is_no_damage(s3: S3Store, s3_folder: str, state: TrainState, proxy: FaultProxy) -> None:
    """Falling back would lose work for an outage."""
    begun(s3, s3_folder, state, 0.2, 0.1)
    proxy.spoil("GET", checkpoint.FILE_NAME, answer(503, "SlowDown"), times=ALWAYS)

    with pytest.raises(StorageError, match="epoch2_"):
        Checkpoints(replace(s3, endpoint_url=proxy.url, attempts=2, pause_s=0.01), s3_folder).claim()


def spoilt_list(index: dict[str, Any], how: str) -> bytes:
    if how == "no object":
        return b"[1, 2]"
    if how == "out of the folder":
        index["latest"][0]["folder"] = "checkpoint_/../../other"
    if how == "unknown field":
        index["more"] = 1
    if how == "newer":
        index["format"] += 1
    return json.dumps(index).encode()[: -5 if how == "cut" else None]


@pytest.mark.parametrize("how", ["no object", "out of the folder", "unknown field", "cut", "newer"])
def test_a_list_that_is_none_is_not_followed(s3: S3Store, s3_folder: str, state: TrainState, how: str) -> None:
    """One error with its address; a newer one says so. No checkpoint is deleted for its sake."""
    index = begun(s3, s3_folder, state, 0.1)
    there = files(s3, s3_folder)
    s3.put(f"{s3_folder}/{INDEX}", spoilt_list(index, how))
    problem = "format must be 1, got 2, of a newer version; update adodn" if how == "newer" else "not a list of check"

    with pytest.raises(CheckpointError, match=f"^{s3_folder}/{INDEX}: {problem}"):
        Checkpoints(s3, s3_folder).claim()
    assert files(s3, s3_folder) == there


def test_who_is_slow_to_die_cannot_change_the_list(s3: S3Store, s3_folder: str, state: TrainState) -> None:
    """A group that was killed still saves when the next has begun: its checkpoint is refused and removed, and what the
    new group goes on from stays.
    """
    old = Checkpoints(s3, s3_folder)
    old.claim()
    save(old, state, 0.3, 0.2)
    old.__exit__(None)
    new = Checkpoints(s3, s3_folder)
    assert epoch_in(new.claim()) == 2
    before, there = listed(s3, s3_folder), files(s3, s3_folder)

    save(old, state, 0.01)
    with pytest.raises(CheckpointError, match=rf"^{s3_folder}/{INDEX}: another process saves this run now"):
        old.__exit__(None)

    assert (listed(s3, s3_folder), files(s3, s3_folder)) == (before, there)
    with new:
        save(new, state, 0.1)
    assert listed(s3, s3_folder)["best"]["val_nme"] == 0.1


def test_who_is_slow_to_die_does_not_take_back_what_is_listed(
    s3: S3Store, s3_folder: str, state: TrainState, proxy: FaultProxy
) -> None:
    """The list with its last checkpoint was written, but it never heard so; by then another group goes on from that."""
    old = Checkpoints(replace(s3, endpoint_url=proxy.url, attempts=1), s3_folder)
    old.claim()
    proxy.spoil("PUT", INDEX, lost_answer, times=1)
    save(old, state, 0.1)
    old.settle()
    new = Checkpoints(s3, s3_folder)
    assert epoch_in(new.claim()) == 1

    with pytest.raises(CheckpointError, match="another process saves this run now"):
        old.__exit__(None)
    assert epoch_in(Checkpoints(s3, s3_folder).claim()) == 1


def test_what_a_killed_upload_left_is_removed(s3: S3Store, s3_folder: str, state: TrainState) -> None:
    """A file that is on no list: killed between the file and the list. Other files of the run stay."""
    begun(s3, s3_folder, state, 0.1)
    orphan = f"{s3_folder}/checkpoint_epoch9_step9_aaaaaaaa/{checkpoint.FILE_NAME}"
    s3.put(orphan, b"half")
    s3.put(f"{s3_folder}/outcome.json", b"{}")

    assert epoch_in(Checkpoints(s3, s3_folder).claim()) == 1
    assert not s3.exists(orphan) and s3.exists(f"{s3_folder}/outcome.json")


@pytest.mark.parametrize("tries", [1, 5])
def test_an_answer_that_is_lost_does_not_end_the_training(
    s3: S3Store, s3_folder: str, state: TrainState, proxy: FaultProxy, tries: int
) -> None:
    """The list was written, and nobody said so: within one operation, or after it was given up."""
    kept = Checkpoints(replace(s3, endpoint_url=proxy.url, attempts=tries, pause_s=0.01), s3_folder)
    kept.claim()
    proxy.spoil("PUT", INDEX, lost_answer, times=1)
    with kept:
        save(kept, state, 0.2, 0.1)

    assert [entry["epoch"] for entry in listed(s3, s3_folder)["latest"]] == [2, 1]
    assert kept.failures == (1 if tries == 1 else 0)


@pytest.mark.parametrize("given_up", [False, True])
def test_an_answer_that_is_lost_leaves_no_file_behind(
    s3: S3Store, s3_folder: str, state: TrainState, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    """What the write that nobody answered took off the list is deleted, by the same checkpoint or by the next one."""
    kept = Checkpoints(s3, s3_folder)
    kept.claim()
    save(kept, state, 0.4, 0.3)
    kept.settle()
    written = S3Store.replace

    def unanswered(store: S3Store, uri: str, data: bytes, version: str | None) -> None:
        written(store, uri, data, version)
        monkeypatch.setattr(S3Store, "replace", written)
        if given_up:
            raise StorageError("no answer")

    monkeypatch.setattr(S3Store, "replace", unanswered)
    with kept:
        save(kept, state, 0.2, 0.1)
    index = listed(s3, s3_folder)

    assert [entry["epoch"] for entry in index["latest"]] == [4, 3]
    assert files(s3, s3_folder) == sorted(file_of(s3_folder, entry) for entry in index["latest"])


@pytest.mark.parametrize("errors", [(0.3, 0.1, 0.2), (0.3, 0.1, None), (0.1, 0.2, 0.3)])
def test_the_best_is_kept_though_storage_did_not_take_it(
    s3: S3Store, s3_folder: str, state: TrainState, proxy: FaultProxy, errors: tuple[float | None, ...]
) -> None:
    """Of a failed upload the next makes up for the last, not for the best: that is sent again before it."""
    kept = Checkpoints(replace(s3, endpoint_url=proxy.url), s3_folder)
    kept.claim()
    best = 1 + errors.index(0.1)
    with kept:
        for number, error in enumerate(errors, start=1):
            if number == best:
                proxy.spoil("PUT", checkpoint.FILE_NAME, answer(403, "QuotaExceeded"), times=1)
            save(kept, state, error)
            kept._uploads.wait()
    found, epochs = read_best(s3, s3_folder)

    assert (found.epoch, found.val_nme, epochs) == (best, 0.1, state.epoch)
    assert (listed(s3, s3_folder)["latest"][0]["step"], kept.failures) == (3, 1)


def test_a_lost_checkpoint_that_would_not_be_the_best_is_not_sent_again(
    s3: S3Store, s3_folder: str, state: TrainState, proxy: FaultProxy
) -> None:
    """The next one is all that a training goes on from."""
    kept = Checkpoints(replace(s3, endpoint_url=proxy.url), s3_folder)
    kept.claim()
    with kept:
        save(kept, state, 0.1)
        kept.settle()
        proxy.spoil("PUT", checkpoint.FILE_NAME, answer(403, "QuotaExceeded"), times=1)
        save(kept, state, 0.2, 0.3)

    assert [entry["epoch"] for entry in listed(s3, s3_folder)["latest"]] == [3, 1]


def test_all_that_the_others_wait_for_has_one_deadline(
    s3: S3Store, s3_folder: str, state: TrainState, proxy: FaultProxy
) -> None:
    """Each operation by itself would be in time, and all together longer than a worker may keep the others waiting."""
    begun(s3, s3_folder, state, 0.2, 0.1)
    slow = replace(s3, endpoint_url=proxy.url, deadline_s=1.5, connect_timeout_s=0.5, read_timeout_s=1, attempts=1)
    for method in ("HEAD", "GET", "PUT"):
        proxy.spoil(method, "", late(0.7), times=ALWAYS)

    with pytest.raises(StorageError, match=r"no time is left|tried 1 times"):
        Checkpoints(slow, s3_folder).claim()
    kept = Checkpoints(slow, s3_folder)
    kept.add(state, 0.1)
    kept._uploads.wait()
    assert kept.failures == 1


def test_a_checkpoint_of_another_model_or_format_is_refused(state: TrainState) -> None:
    """Fault 36: of another rank r, of a newer and of an older version, each with its own way out."""
    saved = state.state_dict()
    other = small_state(small_config({"model.rank_width": 2}))

    with pytest.raises(CheckpointError, match="choose another run name"):
        other.load_state_dict(saved)
    with pytest.raises(CheckpointError, match=rf"format must be {FORMAT}, got {FORMAT + 1}; .*update adodn"):
        state.load_state_dict({**saved, "format": FORMAT + 1})
    with pytest.raises(CheckpointError, match="train again under a new run name"):
        state.load_state_dict({**saved, "format": FORMAT - 1})
