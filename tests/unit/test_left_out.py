"""Faces that sharding leaves out: those on a list, and bad ones within a budget.

pytest tests/unit/test_left_out.py
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from adodn import datasets
from adodn.data import examination
from adodn.data.examination import examine_all
from adodn.data.manifest import ImagePolicy, Manifest
from adodn.data.plan import ShardPlan, plan
from adodn.data.quarantine import BadBudget
from adodn.errors import AnnotationError, ConfigError, DataError
from adodn.samples import Dataset, FaceSample, SampleRef

POLICY = ImagePolicy()


@cache
def one_face() -> FaceSample:
    return next(iter(datasets.open("synthetic", num_train=1, size_px=64)))


class Spoiled:
    """One face under many keys, in a folder that is only named; some are no images, some cannot be read."""

    name = "spoiled"

    def __init__(self, *, root: Path = Path("/data/faces"), no_image: Sequence[int] = (), unread: Sequence[int] = ()):
        self._whole = datasets.open("synthetic", num_train=40, num_val=2, num_common=3, num_challenging=2, size_px=64)
        self.protocol, self.problems, self.root = self._whole.protocol, (), root
        self._no_image = {self.index()[place].key for place in no_image}
        self._unread = {self.index()[place].key for place in unread}

    def index(self) -> Sequence[SampleRef]:
        return self._whole.index()

    def read(self, ref: SampleRef) -> FaceSample:
        if ref.key in self._unread:
            raise AnnotationError(f"{self.root}/{ref.key}.pts: has 67 points, the protocol has 68")
        sample = replace(one_face(), ref=ref)
        return replace(sample, image=b"no image") if ref.key in self._no_image else sample


def keys(made: ShardPlan) -> set[str]:
    return {ref.key for shard in made.shards for ref in shard.refs}


def test_excluded_faces_are_left_out_and_recorded() -> None:
    """What is on the list is in no shard, is not even read, and is in the plan with its reason and in its version."""
    listed = [ref.key for ref in Spoiled().index()]
    exclude = {listed[3]: "blurred", listed[0]: "not a face"}
    dataset = Spoiled(unread=[3])
    made = plan(dataset, POLICY, exclude=exclude)
    assert keys(made) == set(listed) - exclude.keys()
    assert made.excluded == exclude
    assert list(made.excluded) == sorted(exclude)
    others = [plan(dataset, POLICY, exclude=exclude | {listed[3]: "dark"}), plan(Spoiled(), POLICY)]
    assert len({made.version, *(other.version for other in others)}) == 3
    assert plan(dataset, POLICY, exclude=dict(reversed(exclude.items()))).version == made.version


class TwiceNamed(Spoiled):
    """The first two faces have one key."""

    def index(self) -> Sequence[SampleRef]:
        first, second, *rest = self._whole.index()
        return [first, replace(second, key=first.key), *rest]


def test_a_list_can_name_a_key_that_is_no_good() -> None:
    """Faces that share a key stop sharding, unless that key is excluded, with all its faces."""
    twice = TwiceNamed().index()[0].key
    with pytest.raises(DataError, match=rf"'{twice}' \(2 times\)"):
        plan(TwiceNamed(), POLICY)
    assert keys(plan(TwiceNamed(), POLICY, exclude={twice: "twice"})) == {ref.key for ref in TwiceNamed().index()[2:]}


def test_unknown_exclusions_are_one_error() -> None:
    """Keys that the dataset has not are counted and named, the first few of them."""
    exclude = {f"nobody-{number}": "" for number in range(9)} | {Spoiled().index()[0].key: ""}
    with pytest.raises(ConfigError, match=r"9 of 10 faces to exclude are not in dataset 'spoiled': 'nobody-0', .*, …;"):
        plan(Spoiled(), POLICY, exclude=exclude)


@pytest.mark.parametrize("budget", ["2", "4.3%", "100%"])
def test_bad_faces_within_the_budget_are_quarantined(budget: str) -> None:
    """A face that cannot be read, and one that cannot be stored, are left out with reasons; 2 of 47 are 4.26 %."""
    dataset = Spoiled(no_image=[5], unread=[2])
    made = plan(dataset, POLICY, max_bad=BadBudget.parse(budget))
    unread, no_image = dataset.index()[2], dataset.index()[5]
    assert made.quarantined == {
        unread.key: f"{unread.key}.pts: has 67 points, the protocol has 68",
        no_image.key: f"{no_image.locator}: its image is neither a JPEG nor a PNG, begins with b'no image'",
    }
    assert keys(made) == {ref.key for ref in dataset.index()} - made.quarantined.keys()


@pytest.mark.parametrize("budget", ["0", "1", "4.25%"])
def test_bad_faces_beyond_the_budget_are_one_error(budget: str) -> None:
    """One more bad face than allowed stops the plan; the error counts, names and shows the ways out."""
    dataset = Spoiled(no_image=[5], unread=[2])
    with pytest.raises(AnnotationError) as error:
        plan(dataset, POLICY, max_bad=BadBudget.parse(budget))
    message = str(error.value)
    assert "2 of 47 faces cannot be stored" in message
    for part in ("67 points", "neither a JPEG", "adodn validate", "--exclude", "--max-bad"):
        assert part in message


def test_many_bad_faces_are_counted_and_the_first_named() -> None:
    """The error stays short, however many faces are bad, and names those first in the index."""
    dataset = Spoiled(unread=range(30))
    with pytest.raises(AnnotationError, match=r"30 of 47 faces cannot be stored, .*; and 27 more") as error:
        plan(dataset, POLICY, max_bad=BadBudget.parse("29"))
    assert [ref.key in str(error.value) for ref in dataset.index()[:4]] == [True, True, True, False]


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "100.1%", "1 %", "many", "1e3", "%", "٣"])
def test_budgets_that_are_none_are_refused(text: str) -> None:
    """A budget is a whole number of faces, or at most 100 per cent."""
    with pytest.raises(ConfigError, match="max_bad is a number of faces or at most 100 per cent"):
        BadBudget.parse(text)


@pytest.mark.parametrize(("text", "faces"), [("0", 0), ("7", 7), ("0.29%", 29), ("0.1%", 10), ("100%", 10_000)])
def test_a_share_is_taken_exactly(text: str, faces: int) -> None:
    """Per cent are of the faces that are read, rounded down, without an error of binary fractions."""
    assert BadBudget.parse(text).faces(10_000) == faces


def test_the_reasons_do_not_say_where_the_dataset_lies() -> None:
    """The same copy in another folder has the same plan, reasons included."""
    plans = [
        plan(Spoiled(root=Path(root), unread=[2]), POLICY, max_bad=BadBudget.parse("1")) for root in ("/data/a", "/b c")
    ]
    assert plans[0] == plans[1]


def test_nothing_left_is_an_error() -> None:
    """A dataset of which all faces are left out is none."""
    dataset = Spoiled(no_image=range(46))
    last = dataset.index()[46].key
    with pytest.raises(DataError, match="no faces left: 1 excluded, 46 quarantined"):
        plan(dataset, POLICY, exclude={last: ""}, max_bad=BadBudget.parse("100%"))


def test_a_subset_that_lost_faces_has_another_name() -> None:
    """Figures on part of an official subset must not bear its name; whole subsets keep theirs."""
    dataset = Spoiled()
    common = [ref.key for ref in dataset.index() if "common" in ref.subsets]
    made = plan(dataset, POLICY, exclude={common[0]: ""})
    assert made.subsets == {"challenging": 2, "common_minus1": 2, "full_minus1": 4}
    assert {name for shard in made.splits["test"] for ref in shard.refs for name in ref.subsets} == set(made.subsets)
    assert made.problems == (
        "subset 'common' lacks 1 of its 3 faces, which were left out, and is called 'common_minus1'",
        "subset 'full' lacks 1 of its 5 faces, which were left out, and is called 'full_minus1'",
    )


def test_manifests_without_faces_left_out_keep_their_digest() -> None:
    """The two fields are in the identity where they say something, and not in the JSON where they do not."""
    plain = Manifest(dataset="a", version="b", protocol="68", image_policy=POLICY, splits={})
    assert "excluded" not in plain.to_json() and "quarantined" not in plain.to_json()
    marked = [replace(plain, excluded={"k": "why"}), replace(plain, quarantined={"k": "why"})]
    assert len({manifest.digest for manifest in (plain, *marked)}) == 3
    for manifest in (plain, *marked):
        assert Manifest.from_json(manifest.to_json(), "here") == manifest


class Jittery(Spoiled):
    """Faces that come out of order: the earlier in the index, the later."""

    def __init__(self) -> None:
        super().__init__(no_image=[5], unread=[2, 33])
        self._reading, self.most, self._lock = 0, 0, threading.Lock()

    def read(self, ref: SampleRef) -> FaceSample:
        with self._lock:
            self._reading += 1
            self.most = max(self.most, self._reading)
        time.sleep(0.01 if ref.key < "synthetic-train-000020" else 0)
        with self._lock:
            self._reading -= 1
        return super().read(ref)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_a_plan_does_not_depend_on_the_number_of_threads(threads: int) -> None:
    """Any number of threads, whichever is first, gives the plan of one; so does any number of processes."""
    dataset: Dataset = Jittery()  # type: ignore[assignment]  # plan neither iterates nor counts
    budget = BadBudget.parse("3")
    told: list[tuple[str, int, int]] = []
    made = plan(dataset, POLICY, max_bad=budget, threads=threads, progress=lambda *what: told.append(what))
    assert made == plan(Spoiled(no_image=[5], unread=[2, 33]), POLICY, max_bad=budget, threads=1)
    assert told == sorted(told) and told[-1] == ("read", 47, 47)


def test_reading_ahead_is_bounded() -> None:
    """However slow the first face is, only a few runs of faces per thread are read before it is done."""
    gate, read = threading.Event(), []
    dataset = Spoiled()
    whole = dataset.read

    def slow_at_first(ref: SampleRef) -> FaceSample:
        read.append(ref.key)
        if ref == dataset.index()[0]:
            gate.wait(10)
        return whole(dataset.index()[0])

    dataset.read = slow_at_first  # type: ignore[method-assign]
    refs = [replace(dataset.index()[0], key=f"k{number}") for number in range(400)]
    refs[0] = dataset.index()[0]
    work = threading.Thread(target=lambda: examine_all(dataset, refs, POLICY, threads=2))  # type: ignore[arg-type]
    work.start()
    time.sleep(1)
    ahead = len(read)
    gate.set()
    work.join()
    assert ahead <= examination._RUN * examination._AHEAD * 2 < 400
    assert len(read) == 400
