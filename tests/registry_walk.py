"""Prints what docs/registry.md shows: three models, their errors made by hand, on a stack of its own.

python -m tests.registry_walk
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from adodn import models, protocols, registry, settings
from adodn.config import ExperimentConfig, ModelConfig
from adodn.evaluate import EvaluationReport, FaceErrors, report
from infra import stack
from tests.conftest import enter_home
from tests.registered import fresh_registry

_ADODN = str(Path(sys.executable).parent / "adodn")
_COMMON, _CHALLENGING = 90, 30


def an_evaluation(common: float, challenging: float, seed: int) -> EvaluationReport:
    """Faces that are as hard for every model, and errors about these means."""
    count = _COMMON + _CHALLENGING
    hardness = np.random.default_rng(0).gamma(6, 1 / 6, count)
    luck = np.exp(0.08 * np.random.default_rng(seed).standard_normal(count))
    errors = np.repeat([common, challenging], [_COMMON, _CHALLENGING]) * hardness * luck
    target = np.zeros((count, 68, 2))
    target[:, 45, 0] = 1  # eyes one pixel apart, so that an error is an NME
    faces = FaceErrors(
        protocol=protocols.get("68"),
        normaliser="outer_eye_corners",
        keys=tuple(f"{number:03d}" for number in range(count)),
        subsets=(("common",),) * _COMMON + (("challenging",),) * _CHALLENGING,
        predicted=target + errors[:, None, None] * np.array([0.0, 1.0]),
        target=target,
        visible=np.ones((count, 68), dtype=np.bool_),
        boxes=np.array([[0.0, 0, 2, 2]] * count),
    )
    return report(faces, "300w", "a" * 64, "outer_eye_corners")


def walk() -> None:
    """Register three models, and give the commands."""
    small = ModelConfig(backbone="mobilenet_v2", input_px=32, geometry="none", occlusion="none", low_rank=False)
    config = ExperimentConfig(name="small", model=replace(small, grid=1))
    with fresh_registry() as run_id:

        def register(common: float, challenging: float, seed: int) -> None:
            network = models.build(config.model).eval()
            registry.register(network, config, [an_evaluation(common, challenging, seed)], run_id, why="trained")

        torch.manual_seed(0)
        register(0.036, 0.071, 1)
        _give("promote", "--why", "start")
        register(0.033, 0.078, 2)
        _give("compare")
        _give("promote", "--why", "nightly")
        register(0.033, 0.066, 3)
        _give("promote", "--why", "nightly", "--by-hand")
        _give("approve", "--why", "looked at the worst faces")
        _give("rollback", "--why", "fails on masks")
        _give("audit")


def _give(*words: str) -> None:
    done = subprocess.run([_ADODN, *words], capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    typed = " ".join(f"'{word}'" if " " in word else word for word in words)
    sys.stdout.write(f"$ adodn {typed}\n{done.stdout}{done.stderr}\n")
    sys.stdout.flush()


def main() -> None:
    """Start a stack, walk, and stop it."""
    with TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        enter_home(patch, Path(home))
        patch.setenv("LOGNAME", "ann")
        stack.up(progress=lambda line: None)
        try:
            settings.get.cache_clear()
            walk()
        finally:
            stack.down()


if __name__ == "__main__":
    main()
