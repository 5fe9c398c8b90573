"""Carves a validation split out of train. It looks at the index alone: at no image, and at no test face.

refs, rule = split_train(dataset.index(), 0.05)
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from adodn.samples import SampleRef


def split_train(refs: Sequence[SampleRef], val_fraction: float) -> tuple[list[SampleRef], str]:
    """Carve val out of train by whole groups, unless the dataset has a val split.

    A group is what the dataset names: the source photo, or the person where known. A face without one is a group by
    itself. Val takes groups until it has its share, so it has at most one group too many; train keeps the last one.

    Args:
        refs: The index, in its order.
        val_fraction: Share of train that becomes val, at least.

    Returns:
        All refs in their order, and the rule in words: how it was done, and what the dataset knows of groups.
    """
    if any(ref.split == "val" for ref in refs):
        return list(refs), f"val is the dataset's own{_shared(refs)}"
    sizes = Counter(_group(ref) for ref in refs if ref.split == "train")
    wanted = math.ceil(val_fraction * sizes.total())
    elsewhere = {_group(ref) for ref in refs if ref.split != "train"}
    chosen: set[str] = set()
    taken = 0
    for group in sorted(sizes, key=_place)[:-1]:
        if taken >= wanted:
            break
        if group not in elsewhere:
            chosen.add(group)
            taken += sizes[group]
    moved = [replace(ref, split="val") if ref.split == "train" and _group(ref) in chosen else ref for ref in refs]
    rule = (
        f"val is {val_fraction:g} of train: groups in the order of sha256('val:' + group), taken whole until there are "
        f"enough; {_known(refs, len(sizes))}{_shared(moved)}"
    )
    return moved, rule


def _known(refs: Sequence[SampleRef], num_groups: int) -> str:
    train = [ref for ref in refs if ref.split == "train"]
    named = sum(bool(ref.group) for ref in train)
    if not named:
        return "the dataset names no groups, so each face is one, and faces of a person or photo may be parted"
    if named < len(train):
        return (
            f"the dataset names the group (photo or person) of {named} of {len(train)} train faces, "
            f"each other face is one: {num_groups} groups"
        )
    return f"the dataset names the group (photo or person) of every train face: {len(train)} faces, {num_groups} groups"


def _shared(refs: Sequence[SampleRef]) -> str:
    """What there is to say where the dataset's own splits share groups."""
    splits: dict[str, set[str]] = {}
    for ref in refs:
        splits.setdefault(_group(ref), set()).add(ref.split)
    shared = sum(len(found) > 1 for found in splits.values())
    return f"; {shared} groups are in more than one split, as the dataset has them" if shared else ""


def _group(ref: SampleRef) -> str:
    return ref.group or ref.key


def _place(group: str) -> str:
    return hashlib.sha256(f"val:{group}".encode()).hexdigest()
