"""Laws of the split that hold for any index: groups stay whole, and val has its share within one group."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from adodn.data.splitting import split_train
from adodn.samples import SampleRef

groups = st.one_of(st.just(""), st.integers(0, 12).map("g{}".format))
indexes = st.lists(st.tuples(st.sampled_from(["train", "train", "train", "test"]), groups), min_size=1, max_size=60)


def index(listed: list[tuple[str, str]]) -> list[SampleRef]:
    return [SampleRef(key=f"k{i}", locator="", split=split, group=group) for i, (split, group) in enumerate(listed)]


def splits_of(refs: list[SampleRef]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for ref in refs:
        found.setdefault(ref.group or ref.key, set()).add(ref.split)
    return found


@given(indexes, st.floats(0, 0.99))
def test_no_group_is_in_two_splits_unless_the_dataset_has_it_so(listed: list[tuple[str, str]], share: float) -> None:
    """Splitting parts no group; those that the dataset itself has in train and test are counted in the rule."""
    refs = index(listed)
    moved, rule = split_train(refs, share)
    before, after = splits_of(refs), splits_of(moved)
    assert [ref.key for ref in moved] == [ref.key for ref in refs]
    for group, splits in after.items():
        assert len(splits) == len(before[group])
        assert splits == before[group] or (before[group], splits) == ({"train"}, {"val"})
    shared = sum(len(splits) > 1 for splits in before.values())
    assert (f"{shared} groups are in more than one split" in rule) == bool(shared)
    assert ("more than one split" in rule) == bool(shared)


@given(indexes, st.floats(0, 0.99))
def test_val_has_its_share_within_one_group(listed: list[tuple[str, str]], share: float) -> None:
    """Val has what was asked for, and less than one largest group more, as far as there are groups to take."""
    refs = index(listed)
    moved, _ = split_train(refs, share)
    sizes = Counter(ref.group or ref.key for ref in refs if ref.split == "train")
    wanted = math.ceil(share * sizes.total())
    taken = sum(ref.split == "val" for ref in moved)
    own = {group for group, splits in splits_of(refs).items() if splits == {"train"}}
    left = own & {ref.group or ref.key for ref in moved if ref.split == "train"}
    assert taken < wanted + max(sizes.values(), default=0) or taken == 0
    assert taken >= wanted or len(left) <= 1
    assert bool(sizes) == any(ref.split == "train" for ref in moved)


@given(indexes)
def test_the_rule_says_what_is_known_of_groups(listed: list[tuple[str, str]]) -> None:
    """For each dataset the rule says whether all, some or none of the train faces have a group."""
    train = [group for split, group in listed if split == "train"]
    _, rule = split_train(index(listed), 0.1)
    named = sum(map(bool, train))
    if not named:
        assert "names no groups" in rule
    elif named == len(train):
        assert f"of every train face: {len(train)} faces, {len(set(train))} groups" in rule
    else:
        assert f"of {named} of {len(train)} train faces" in rule
