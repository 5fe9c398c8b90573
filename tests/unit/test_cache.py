"""The shard cache against damage, full disks, other processes, and tars that break the contract."""

import hashlib
import io
import math
import os
import re
import resource
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from adodn.data import cache as cache_module
from adodn.data.cache import ShardCache
from adodn.data.manifest import ShardEntry
from adodn.errors import ConfigError, ShardError, StorageError
from tests.shard_folder import FolderStore, face_members, tar_of, write_shard

URI = "folder://toy/"


def open_shard(cache: ShardCache, entry: ShardEntry, store: FolderStore) -> tuple[bytes, bytes]:
    shard = cache.open(entry, uri=URI + entry.name, source=store)
    return shard.image(0), shard.record(0)


def three_faces(folder: Path, number: int = 0) -> ShardEntry:
    return write_shard(folder, f"train-{number:06d}.tar", tar_of(face_members(3 * number, 3)), 3)


def count_calls(monkeypatch: pytest.MonkeyPatch, cache: ShardCache, name: str) -> list[None]:
    """A list that grows by one whenever the method is called; the method itself runs as ever."""
    calls: list[None] = []
    method = getattr(cache, name)
    monkeypatch.setattr(cache, name, lambda target: calls.append(None) or method(target))
    return calls


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "store").mkdir()
    return FolderStore(tmp_path / "store")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_shard_is_fetched_once_and_read_as_written(store: FolderStore, root: Path) -> None:
    """Members come back byte for byte, and a second opening does not ask the store again."""
    entry = three_faces(store.root)
    members = face_members(0, 3)
    shard = ShardCache(root, 10**9).open(entry, uri=URI + entry.name, source=store)
    assert [(shard.image(place), shard.record(place)) for place in range(3)] == [
        (members[2 * place][1], members[2 * place + 1][1]) for place in range(3)
    ]
    open_shard(ShardCache(root, 10**9), entry, store)
    assert store.asked == [URI + entry.name]


@pytest.mark.parametrize("damage", [flip_a_byte, Path.unlink, lambda path: os.truncate(path, 1000)])
def test_a_damaged_copy_is_fetched_again(store: FolderStore, root: Path, damage: object) -> None:
    """A cached file with a flipped byte, cut, or gone is replaced from the store when it is next opened."""
    entry = three_faces(store.root)
    whole = open_shard(ShardCache(root, 10**9), entry, store)
    cache = ShardCache(root, 10**9)
    damage(cache.path(entry))  # type: ignore[operator]
    assert open_shard(cache, entry, store) == whole
    assert len(store.asked) == 2
    assert hashlib.sha256(cache.path(entry).read_bytes()).hexdigest() == entry.sha256


def test_a_copy_damaged_while_open_is_fetched_again(store: FolderStore, root: Path) -> None:
    """A file that changes after it was verified is noticed by its time or size, and replaced."""
    entry = three_faces(store.root)
    cache = ShardCache(root, 10**9)
    whole = open_shard(cache, entry, store)
    time.sleep(0.02)
    flip_a_byte(cache.path(entry))
    assert open_shard(cache, entry, store) == whole
    assert len(store.asked) == 2


def test_a_copy_deleted_while_open_stays_readable(store: FolderStore, root: Path) -> None:
    """Another process may evict a shard in use here: it stays readable without asking the store."""
    entry = three_faces(store.root)
    cache = ShardCache(root, 10**9)
    whole = open_shard(cache, entry, store)
    cache.path(entry).unlink()
    assert open_shard(cache, entry, store) == whole
    assert len(store.asked) == 1


def test_a_link_in_the_cache_is_not_followed(store: FolderStore, root: Path, tmp_path: Path) -> None:
    """A link in place of a shard is replaced by the shard, and its target left alone."""
    entry = three_faces(store.root)
    cache = ShardCache(root, 10**9)
    target = tmp_path / "elsewhere"
    target.write_bytes((store.root / entry.name).read_bytes())
    cache.path(entry).parent.mkdir()
    cache.path(entry).symlink_to(target)
    open_shard(cache, entry, store)
    assert store.asked
    assert not cache.path(entry).is_symlink()
    assert target.exists()


@pytest.mark.parametrize("damage", [flip_a_byte, lambda path: os.truncate(path, 1000)])
def test_damage_in_the_store_is_named(store: FolderStore, root: Path, damage: object) -> None:
    """Wrong bytes in the store: two downloads, then an error with shard, bytes due and bytes found; nothing is kept."""
    entry = three_faces(store.root)
    path = store.root / entry.name
    damage(path)  # type: ignore[operator]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    cache = ShardCache(root, 10**9)
    with pytest.raises(ShardError, match=rf"{URI}{entry.name}: must be {entry.bytes} bytes .*{entry.sha256}.*{found}"):
        open_shard(cache, entry, store)
    assert len(store.asked) == 2
    assert not cache.path(entry).exists()


def test_a_download_that_was_cut_once_is_repeated(store: FolderStore, root: Path) -> None:
    """One bad download is mended by the second."""

    class CutsOnce(FolderStore):
        def get(self, uri: str) -> bytes:
            data = super().get(uri)
            return data if len(self.asked) > 1 else data[:-1]

    entry = three_faces(store.root)
    cuts = CutsOnce(store.root)
    assert open_shard(ShardCache(root, 10**9), entry, cuts)[0] == face_members(0, 1)[0][1]
    assert len(cuts.asked) == 2


def test_a_missing_shard_is_the_stores_error(store: FolderStore, root: Path) -> None:
    """What the store says passes through, and the next attempt is not blocked."""
    entry = three_faces(store.root)
    data = (store.root / entry.name).read_bytes()
    (store.root / entry.name).unlink()
    cache = ShardCache(root, 10**9)
    with pytest.raises(StorageError, match="no such object"):
        open_shard(cache, entry, store)
    (store.root / entry.name).write_bytes(data)
    open_shard(cache, entry, store)


def test_the_least_recently_used_go_first(store: FolderStore, root: Path) -> None:
    """When a third shard does not fit beside two, the one that was used longest ago makes room."""
    entries = [three_faces(store.root, number) for number in range(3)]
    for entry in (entries[0], entries[1], entries[0]):
        open_shard(ShardCache(root, 10**9), entry, store)
        time.sleep(0.02)
    cache = ShardCache(root, max_bytes=entries[0].bytes + entries[2].bytes)
    open_shard(cache, entries[2], store)
    assert [cache.path(entry).exists() for entry in entries] == [True, False, True]


def test_shards_in_use_are_never_evicted(store: FolderStore, root: Path) -> None:
    """A shard that this process has open stays, even if the folder grows beyond its bound."""
    entries = [three_faces(store.root, number) for number in range(2)]
    cache = ShardCache(root, max_bytes=1)
    for entry in entries:
        open_shard(cache, entry, store)
    assert all(cache.path(entry).exists() for entry in entries)


def test_a_folder_never_grows_beyond_its_bound(store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one shard open at a time, forty shards in a folder for twenty-five keep its bound, in fewer walks."""
    monkeypatch.setattr(cache_module, "_MAX_OPEN", 1)
    entries = [three_faces(store.root, number) for number in range(40)]
    cache = ShardCache(root, max_bytes=25 * max(entry.bytes for entry in entries))
    walks = count_calls(monkeypatch, cache, "_evict")
    for entry in entries:
        open_shard(cache, entry, store)
        assert sum(path.stat().st_size for path in root.rglob("*.tar")) <= 25 * max(entry.bytes for entry in entries)
    assert len(walks) < 40


def test_files_are_closed_again(store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shards pass, no more than the allowed number of files stays open, and a closed one is read anew."""
    monkeypatch.setattr(cache_module, "_MAX_OPEN", 4)
    cache = ShardCache(root, 10**9)
    entries = [three_faces(store.root, number) for number in range(20)]
    before = open_files()
    first = [open_shard(cache, entry, store) for entry in entries]
    assert open_files() <= before + 4
    assert [open_shard(cache, entry, store) for entry in entries] == first
    assert len(store.asked) == 20


def test_what_a_dead_process_left_is_replaced(store: FolderStore, root: Path) -> None:
    """Half a download of a killed process is neither read nor in the way."""
    entry = three_faces(store.root)
    cache = ShardCache(root, 10**9)
    part = cache.path(entry).with_suffix(".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    open_shard(cache, entry, store)
    assert not part.exists()


def test_a_cache_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    """A file where the folder should be is an error that names it and the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/cache' cannot be written .*ADODN_CACHE_DIR"):
        ShardCache(tmp_path / "file" / "cache", 10**9)


def test_want_of_file_descriptors_is_not_blamed_on_the_folder(store: FolderStore, root: Path) -> None:
    """A process that may open no more files says so; another one may well be able to."""
    cache, entry = ShardCache(root, 10**9), three_faces(store.root)
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, most))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            cache.open(entry, uri="s3://bucket/three.tar", source=store)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))


_FETCH = """
import resource, sys, time
from pathlib import Path
from adodn.data.cache import ShardCache
from adodn.data.manifest import ShardEntry

class SlowFolder:
    def get(self, uri):
        with Path(root, "asked.txt").open("a") as log:
            log.write(uri + "\\n")
        time.sleep(0.5)
        return Path(root, uri.removeprefix("folder://toy/")).read_bytes()

root, cache, limit, name, size, digest = sys.argv[1:]
if limit != "none":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
entry = ShardEntry(name=name, bytes=int(size), sha256=digest, samples=3)
shard = ShardCache(Path(cache), 10**9).open(entry, uri="folder://toy/" + name, source=SlowFolder())
print(len(shard.image(2)))
"""


def fetching_process(store: FolderStore, root: Path, entry: ShardEntry, limit: str = "none") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _FETCH, str(store.root), str(root), limit, entry.name, str(entry.bytes)]
    return subprocess.Popen(
        [*command, entry.sha256],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_a_shard_once(store: FolderStore, root: Path) -> None:
    """Of two processes that want a shard at the same time, one fetches it and both read it."""
    entry = three_faces(store.root)
    both = [fetching_process(store, root, entry) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in both]
    length = f"{len(face_members(2, 1)[0][1])}\n"
    assert [out for out, _ in answers] == [length, length], answers
    assert (store.root / "asked.txt").read_text().splitlines() == [URI + entry.name]


def test_a_disk_that_takes_no_more_does_not_stop_an_epoch(store: FolderStore, root: Path) -> None:
    """A shard that cannot be written is served from memory, with a warning, and leaves no half file."""
    entry = three_faces(store.root)
    process = fetching_process(store, root, entry, limit="2000")
    out, err = process.communicate(timeout=120)
    assert out == f"{len(face_members(2, 1)[0][1])}\n", err
    assert "keeping it in memory" in err
    assert not [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]


def special(name: str, kind: bytes, target: str = "") -> bytes:
    """A tar of three faces and one member that is no regular file."""
    buffer = io.BytesIO(tar_of(face_members(0, 3)))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return buffer.getvalue()


FACES = face_members(0, 3)
SECOND = 512 + math.ceil(len(FACES[0][1]) / 512) * 512
"""Where the second member's header begins: after the first one's header and its content in blocks of 512."""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(tar_of(FACES)[: 512 + 300], r"member 'face-0000\.jpg' is cut off", id="cut in a member"),
        pytest.param(tar_of(FACES)[: SECOND + 100], r"member 'face-0000\.json' is missing", id="cut in a header"),
        pytest.param(tar_of(FACES)[:SECOND], r"member 'face-0000\.json' is missing", id="cut between members"),
        pytest.param(tar_of(FACES[:4]), "must hold 3 faces as its manifest says, holds 2", id="a face missing"),
        pytest.param(tar_of(face_members(0, 4)), "holds 4", id="a face too many"),
        pytest.param(tar_of(FACES[:5]), r"member 'face-0002\.json' is missing", id="record missing"),
        pytest.param(tar_of(FACES[1:]), r"member 'face-0000\.jpg' is missing", id="image missing"),
        pytest.param(tar_of([*FACES, FACES[0]]), r"holds member 'face-0000\.jpg' twice", id="twice"),
        pytest.param(
            tar_of([FACES[0], ("face-0000.json", b" " * 1_000_001), *FACES[2:]]),
            r"'face-0000\.json' has at most 1000000 bytes, got 1000001",
            id="a bomb for a record",
        ),
        pytest.param(tar_of([*FACES, ("notes.txt", b"x")]), "'notes.txt'", id="extra"),
        pytest.param(tar_of([*FACES, ("face-0003.pkl", b"x")]), r"'face-0003\.pkl'", id="a pickle"),
        pytest.param(tar_of([*FACES, ("../up.jpg", b"x")]), r"'\.\./up\.jpg'", id="out of its folder"),
        pytest.param(tar_of([*FACES, ("/etc/a.json", b"x")]), "'/etc/a.json'", id="absolute"),
        pytest.param(tar_of([*FACES, ("a.b.jpg", b"x")]), r"'a\.b\.jpg'", id="key with a dot"),
        pytest.param(special("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), "'a.jpg' of type b'2'", id="symlink"),
        pytest.param(special("a.jpg", tarfile.LNKTYPE, "face-0000.jpg"), "'a.jpg' of type b'1'", id="hard link"),
        pytest.param(special("a.jpg", tarfile.CHRTYPE), "'a.jpg' of type b'3'", id="device"),
        pytest.param(special("a.jpg", tarfile.DIRTYPE), "'a.jpg' of type b'5'", id="folder"),
        pytest.param(b"no tar at all" * 100, "not a whole tar", id="no tar"),
        pytest.param(b"", "not a whole tar|holds 0", id="empty"),
    ],
)
def test_a_tar_that_breaks_the_contract_is_named(store: FolderStore, root: Path, data: bytes, message: str) -> None:
    """Even when its digest is right, a tar of anything but whole pairs of plain members is refused by name."""
    entry = write_shard(store.root, "train-000000.tar", data, 3)
    with pytest.raises(ShardError, match=f"^{re.escape(URI)}train-000000\\.tar: .*({message})"):
        open_shard(ShardCache(root, 10**9), entry, store)
