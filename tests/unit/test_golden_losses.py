"""The first steps of the smoke recipes come to what they always came to.

pytest tests/unit/test_golden_losses.py

Where a change is meant to change them: python -m tests.golden.losses
"""

import json

import pytest
import torch

from adodn import recipes
from adodn.models.attentive_dropout import draw_switch
from tests.golden.losses import KEPT, RECIPES, STEPS, STEPS_PER_EPOCH, first_steps

TOLERANCE = 1e-9
"""Relative. In double precision, one or two threads and SSE, AVX2 or AVX-512 differed by less than 1e-14."""


@pytest.mark.parametrize("name", RECIPES)
def test_first_steps_come_to_what_is_kept(name: str) -> None:
    """Loss, every term of it and the norm of the gradient are those of the file at each step."""
    kept = json.loads(KEPT.read_text())[name]

    measured = first_steps(recipes.get(name))

    for term, values in kept.items():
        assert len(values) == STEPS
        assert measured[term] == pytest.approx(values, rel=TOLERANCE, abs=0), term


def test_a_drop_mask_is_among_the_kept_steps() -> None:
    """After the warm-up epochs, both masks are drawn in the steps that are kept."""
    config = recipes.adodn_smoke()
    first = config.model.drop_warmup_epochs * STEPS_PER_EPOCH

    drawn = [
        bool(draw_switch(seed=config.train.seed, step=step, probability=0.5, positions=torch.arange(1), scope="step"))
        for step in range(first, STEPS)
    ]

    assert set(drawn) == {False, True}
