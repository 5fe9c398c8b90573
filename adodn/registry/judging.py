"""Whether a challenger may take the champion's place: a row for each thing that the gate asks.

    verdict = judge(gate, challenger, champion)     # of two `Evidence`s; None where there is no champion
    verdict.passed, verdict.reason

Pure: it reads no registry, measures nothing and moves nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from adodn.errors import ConfigError, DataError
from adodn.evaluate import EvaluationReport, aligned, paired
from adodn.registry.gate import Bound, Gate, Primary, Size, Smoke, Speed, Subsets
from adodn.statistics import paired_bootstrap_interval, paired_permutation_test


class Row(BaseModel):
    """What one rule asked, and what it saw."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rule: str
    value: float | None = None
    bound: float | None = None
    passed: bool
    words: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What is known of a version."""

    version: int
    reports: tuple[EvaluationReport, ...]
    damage: tuple[str, ...] = ()
    """What is wrong with its files, in words."""
    parameters: int | None = None
    faces_per_s: float | None = None
    smoke_difference: float | None = None
    """Largest of any coordinate, in fractions of the crop; None: no answer was kept at registration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the gate says."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every rule was met."""
        return all(row.passed for row in self.rows)

    @property
    def reason(self) -> str:
        """In one line: what decided, or all that stood against it."""
        against = [row.words for row in self.rows if not row.passed]
        return "; ".join(against or [row.words for row in self.rows if row.rule == "primary"])


def judge(gate: Gate, challenger: Evidence, champion: Evidence | None) -> Verdict:
    """Ask everything that the gate asks.

    Args:
        gate: The rule.
        challenger: Who wants the place.
        champion: Who has it; None where nobody has: then only that is asked which needs no opponent.
    """
    return Verdict(
        rows=(
            *_files(challenger),
            *(_files(champion) if champion else ()),
            *_errors(gate, challenger, champion),
            *(_bound(bound, challenger) for bound in gate.bounds),
            *_size(gate.size, challenger),
            *_speed(gate.speed, challenger, champion),
            *_smoke(gate.smoke, challenger),
        )
    )


def _files(evidence: Evidence) -> Iterator[Row]:
    yield from (Row(rule="files", passed=False, words=words) for words in evidence.damage)


def _errors(gate: Gate, challenger: Evidence, champion: Evidence | None) -> Iterator[Row]:
    try:
        ours, theirs = _reports(gate.primary, challenger, champion)
        yield _primary(gate.primary, ours, theirs, champion)
        if gate.primary.at_most is not None:
            yield _own_bound(gate.primary, ours)
        if gate.subsets and theirs and champion:
            yield from _subsets(gate, gate.subsets, ours, theirs, champion)
    except (ConfigError, DataError) as cause:
        yield Row(rule="primary", passed=False, words=str(cause))


def _reports(
    primary: Primary, challenger: Evidence, champion: Evidence | None
) -> tuple[EvaluationReport, EvaluationReport | None]:
    """The reports to compare.

    Raises:
        DataError: If there are none or several that would do.
    """
    ours = _fitting(primary, challenger)
    theirs = _fitting(primary, champion) if champion else ours
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise DataError(_nothing_common(ours, challenger, theirs, champion))
    if len(both) > 1:
        names = ", ".join(f"{dataset} by {normaliser}" for dataset, normaliser in both)
        raise DataError(f"several evaluations could decide: {names}; name one by dataset and normaliser of [primary]")
    return ours[both[0]], theirs[both[0]] if champion else None


def _fitting(primary: Primary, evidence: Evidence) -> dict[tuple[str, str], EvaluationReport]:
    return {
        (report.dataset, report.normaliser): report
        for report in evidence.reports
        if primary.dataset in ("", report.dataset)
        and primary.normaliser in ("", report.normaliser)
        and primary.qualifier == report.qualifier
    }


def _nothing_common(
    ours: dict[tuple[str, str], EvaluationReport],
    challenger: Evidence,
    theirs: dict[tuple[str, str], EvaluationReport],
    champion: Evidence | None,
) -> str:
    def known(evidence: Evidence) -> str:
        found = (f"{report.dataset} by {report.normaliser} {report.qualifier}".strip() for report in evidence.reports)
        return f"version {evidence.version} has {', '.join(found) or 'no evaluation'}"

    lacking = [evidence for evidence, fit in ((challenger, ours), (champion, theirs)) if evidence and not fit]
    people = [evidence for evidence in (challenger, champion) if evidence]
    who = " and ".join(f"version {evidence.version}" for evidence in lacking or people)
    return (
        f"{who} was not measured on what decides: {'; '.join(map(known, people))}; measure it by "
        "`adodn evaluate models:/NAME/VERSION --dataset s3://… --register`"
    )


def _mean(report: EvaluationReport, subset: str, figure: str) -> float:
    return float(aligned([report], subset=subset, figure=figure).mean())


def _title(report: EvaluationReport, subset: str, figure: str) -> str:
    return report.name(subset, f"{figure}@{report.normaliser}")


def _primary(
    primary: Primary, ours: EvaluationReport, theirs: EvaluationReport | None, champion: Evidence | None
) -> Row:
    title, mean = _title(ours, primary.subset, primary.figure), _mean(ours, primary.subset, primary.figure)
    if theirs is None or champion is None:
        return Row(rule="primary", value=mean, passed=True, words=f"the first champion, {title} {100 * mean:.3f} %")
    a, b = paired(theirs, ours, subset=primary.subset, figure=primary.figure)
    if len(a) < 2:
        raise DataError(f"{title} is of {len(a)} face; an interval needs two at least: decide on a larger subset")
    interval = paired_bootstrap_interval(a, b, confidence=primary.confidence)
    pvalue = paired_permutation_test(a, b).pvalue
    passed = interval.low > primary.min_improvement
    words = (
        f"{'better' if passed else 'not better'}: {title} {100 * mean:.3f} % against version {champion.version}'s "
        f"{100 * float(a.mean()):.3f} %, improvement {100 * interval.difference:+.3f} points "
        f"({100 * primary.confidence:g} % interval {100 * interval.low:+.3f} to {100 * interval.high:+.3f}, "
        f"p = {pvalue:.4f}, {len(a)} faces); more than {100 * primary.min_improvement:.3f} is asked"
    )
    return Row(rule="primary", value=interval.low, bound=primary.min_improvement, passed=passed, words=words)


def _own_bound(primary: Primary, ours: EvaluationReport) -> Row:
    mean = _mean(ours, primary.subset, primary.figure)
    return _at_most("primary.at_most", _title(ours, primary.subset, primary.figure), mean, primary.at_most or 0)


def _subsets(
    gate: Gate, subsets: Subsets, ours: EvaluationReport, theirs: EvaluationReport, champion: Evidence
) -> Iterator[Row]:
    for subset in ours.errors.members():
        if subset == gate.primary.subset:
            continue
        old, new = (float(errors.mean()) for errors in paired(theirs, ours, subset=subset))
        worse = new / old - 1 if old else float(new > 0)  # a champion without error cannot be worse by a share
        words = (
            f"{_title(ours, subset, 'nme')} {100 * new:.3f} % against version {champion.version}'s {100 * old:.3f} %: "
            f"{abs(100 * worse):.1f} % {'worse' if worse > 0 else 'better'}, {100 * subsets.max_worse:g} % is allowed"
        )
        passed = worse <= subsets.max_worse
        yield Row(rule=f"subset {subset}", value=worse, bound=subsets.max_worse, passed=passed, words=words)


def _bound(bound: Bound, challenger: Evidence) -> Row:
    for report in challenger.reports:
        try:
            value = report.value(bound.result)
        except ConfigError:
            continue
        return _at_most("bound", bound.result, value, bound.at_most)
    words = (
        f"version {challenger.version} has no result {bound.result!r}; measure it by "
        "`adodn evaluate models:/NAME/VERSION --dataset s3://… --register`"
    )
    return Row(rule="bound", bound=bound.at_most, passed=False, words=words)


def _at_most(rule: str, title: str, value: float, bound: float) -> Row:
    words = f"{title} {100 * value:.3f} %, at most {100 * bound:.3f} %"
    return Row(rule=rule, value=value, bound=bound, passed=value <= bound, words=words)


def _unknown(rule: str, what: str, challenger: Evidence) -> Row:
    return Row(rule=rule, passed=False, words=f"{what} of version {challenger.version} is not known")


def _size(size: Size | None, challenger: Evidence) -> Iterator[Row]:
    if size is None:
        return
    count = challenger.parameters
    if count is None:
        yield _unknown("size", "the number of parameters", challenger)
        return
    words = f"{count:,} parameters, at most {size.max_parameters:,}"
    passed = count <= size.max_parameters
    yield Row(rule="size", value=float(count), bound=float(size.max_parameters), passed=passed, words=words)


def _speed(speed: Speed | None, challenger: Evidence, champion: Evidence | None) -> Iterator[Row]:
    if speed is None:
        return
    ours, theirs = challenger.faces_per_s, champion.faces_per_s if champion else None
    if ours is None:
        yield _unknown("speed", "the speed", challenger)
        return
    floors = []
    if speed.min_faces_per_s is not None:
        floors.append((speed.min_faces_per_s, "as the gate has it"))
    if speed.min_ratio_to_champion is not None and theirs is not None and champion:
        floors.append((speed.min_ratio_to_champion * theirs, f"version {champion.version} does {theirs:.1f}"))
    for floor, why in floors:
        words = f"{ours:.1f} faces/s in batches of {speed.batch}, at least {floor:.1f} ({why})"
        yield Row(rule="speed", value=ours, bound=floor, passed=ours >= floor, words=words)


def _smoke(smoke: Smoke | None, challenger: Evidence) -> Iterator[Row]:
    if smoke is None:
        return
    apart = challenger.smoke_difference
    if apart is None:
        yield _unknown("smoke", "the answer at registration", challenger)
        return
    bound = smoke.max_difference
    words = f"the loaded model answers within {apart:.1e} of the crop as at registration, at most {bound:g}"
    yield Row(rule="smoke", value=apart, bound=bound, passed=apart <= bound, words=words)
