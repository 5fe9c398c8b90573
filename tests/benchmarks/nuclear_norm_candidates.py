"""Ways to the nuclear norm and U_r V_rᵀ, side by side: time on adodn_300w's matrix, distance from the SVD in fp64.

python -m tests.benchmarks.nuclear_norm_candidates

Distances are of the value (relative) and of the gradient (spectral norm), on matrices `[9216, 256]`: random; of rank
40; singular values 1 … 1e-6; zero; and 1 and 20 Adam steps of 1e-3 on, for what is carried from step to step.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from adodn.models.nuclear_norm import nuclear_norm
from tests.benchmarks.measure import alternately
from tests.benchmarks.training_step import TrainingStep

Answer = tuple[Tensor, Tensor]
Candidate = Callable[[Tensor], Answer]
_D, _K = 9216, 256
_TOLERANCE = 4.8e-7


def full_svd(m: Tensor) -> Answer:
    left, singular, right = torch.linalg.svd(m, full_matrices=False)
    kept = singular > _TOLERANCE * singular[0]
    return singular.sum(), (left * kept) @ right


def gram(m: Tensor, dtype: torch.dtype) -> Answer:
    tall = m.to(dtype)
    eigenvalues, right = torch.linalg.eigh(tall.mT @ tall)
    singular = eigenvalues.clamp(min=0).sqrt()
    kept = singular > (_TOLERANCE if dtype == torch.float64 else 1e-3) * singular.amax()
    inverse = torch.where(kept, singular, torch.inf).reciprocal()
    return singular.sum(), (tall @ ((right * inverse) @ right.mT)).float()


def ours(m: Tensor) -> Answer:
    leaf = m.clone().requires_grad_()
    value = nuclear_norm(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def newton_schulz(m: Tensor, iterations: int) -> Answer:
    """X ← X (3 - XᵀX) / 2 on the matrix itself; ‖M‖_* = ⟨X, M⟩."""
    x = m / torch.linalg.matrix_norm(m).clamp(min=1e-30)
    for _ in range(iterations):
        x = 1.5 * x - 0.5 * x @ (x.mT @ x)
    return (x * m).sum(), x


def newton_schulz_of_gram(m: Tensor, iterations: int) -> Answer:
    """Coupled iteration for G^½ and G^-½ of the Gram matrix, fp64: U Vᵀ = M G^-½, ‖M‖_* = trace G^½."""
    tall = m.double()
    g = tall.mT @ tall
    scale = torch.linalg.matrix_norm(g).clamp(min=1e-300)
    one = torch.eye(len(g), dtype=g.dtype)
    y, z = g / scale, one
    for _ in range(iterations):
        step = 1.5 * one - 0.5 * z @ y
        y, z = y @ step, step @ z
    return (y.trace() * scale.sqrt()).float(), (tall @ (z / scale.sqrt())).float()


class WarmInverseRoot:
    """Z ← Z (3 - Z G Z) / 2 from the Z of the last step, fp64."""

    def __init__(self, first: Tensor, iterations: int) -> None:
        eigenvalues, right = torch.linalg.eigh(first.double().mT @ first.double())
        self.z = (right * eigenvalues.clamp(min=1e-12).rsqrt()) @ right.mT
        self.iterations = iterations

    def __call__(self, m: Tensor) -> Answer:
        tall = m.double()
        g = tall.mT @ tall
        for _ in range(self.iterations):
            self.z = 1.5 * self.z - 0.5 * self.z @ g @ self.z @ self.z
        return (self.z @ g).trace().float(), (tall @ self.z).float()


class StaleBasis:
    """The V and Σ of a step before: what the steps between two decompositions would use."""

    def __init__(self, first: Tensor) -> None:
        eigenvalues, right = torch.linalg.eigh(first.double().mT @ first.double())
        self.to_polar = ((right * eigenvalues.clamp(min=1e-12).rsqrt()) @ right.mT).float()

    def __call__(self, m: Tensor) -> Answer:
        polar = m @ self.to_polar
        return (polar * m).sum(), polar


def matrices() -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(0)
    normal = partial(torch.randn, generator=draws)
    left, right = torch.linalg.qr(normal(_D, _K).double()).Q, torch.linalg.qr(normal(_K, _K).double()).Q
    return {
        "random": normal(_D, _K) * _D**-0.5,
        "rank 40": normal(_D, 40) @ normal(40, _K) / _D,
        "to 1e-6": ((left * torch.logspace(0, -6, _K)) @ right.mT).float(),
        "zero": torch.zeros(_D, _K),
    }


def distance(candidate: Candidate, m: Tensor) -> str:
    exact_value, exact = full_svd(m.double())
    value, polar = candidate(m)
    gap = torch.linalg.eigvalsh((polar.double() - exact).mT @ (polar.double() - exact))[-1].clamp(min=0).sqrt()
    return f"{float((value - exact_value).abs() / exact_value.clamp(min=1e-30)):.0e}/{float(gap):.0e}"


def main() -> None:
    step = TrainingStep()
    tried = matrices()
    first = tried["random"]
    later = first + 1e-3 * torch.randn(20, _D, _K, generator=torch.Generator().manual_seed(1)).sign().sum(0)
    after_one = first + 1e-3 * torch.randn(_D, _K, generator=torch.Generator().manual_seed(1)).sign()
    candidates: dict[str, Candidate] = {
        "SVD, fp32": full_svd,
        "Gram, fp64 (until now)": partial(gram, dtype=torch.float64),
        "Gram, fp32": partial(gram, dtype=torch.float32),
        "half Gram, fp64, product in fp32 (kept)": ours,
        "Newton-Schulz, 12": partial(newton_schulz, iterations=12),
        "Newton-Schulz, 25": partial(newton_schulz, iterations=25),
        "Newton-Schulz of Gram, 12": partial(newton_schulz_of_gram, iterations=12),
        "Newton-Schulz of Gram, 30": partial(newton_schulz_of_gram, iterations=30),
    }
    warm = WarmInverseRoot(first, 2)
    stale = StaleBasis(first)
    calls = [partial(candidate, first) for candidate in (*candidates.values(), warm, stale)]
    stepped, worst, *spent = alternately(step, partial(ours, tried["to 1e-6"]), *calls, repeats=5)
    print(  # noqa: T201
        f"step {1000 * stepped.cpu_s:.0f} ms; kept, where ill-conditioned, {worst.cpu_s / stepped.cpu_s:.2%}"
    )
    for (name, candidate), cost in zip(candidates.items(), spent, strict=False):
        gaps = "  ".join(f"{kind} {distance(candidate, m)}" for kind, m in tried.items())
        print(  # noqa: T201
            f"{name:42} {1000 * cost.cpu_s:7.1f} ms  {cost.cpu_s / stepped.cpu_s:6.2%}  {gaps}"
        )
    for name, cost in zip(("warm inverse root, 2", "basis of another step"), spent[len(candidates) :], strict=True):
        gaps = "  ".join(
            f"{kind} {distance(WarmInverseRoot(first, 2) if 'warm' in name else StaleBasis(first), m)}"
            for kind, m in (("1 step on", after_one), ("20 steps on", later))
        )
        print(  # noqa: T201
            f"{name:42} {1000 * cost.cpu_s:7.1f} ms  {cost.cpu_s / stepped.cpu_s:6.2%}  {gaps}"
        )


if __name__ == "__main__":
    main()
