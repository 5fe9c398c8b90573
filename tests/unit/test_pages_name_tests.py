"""infra/SECURITY.md and docs/reliability.md: every claim and every fault names tests that exist.

pytest tests/unit/test_pages_name_tests.py
"""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "infra" / "SECURITY.md"
FAULTS = TESTS.parent / "docs" / "reliability.md"
_ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
_FAULT = re.compile(r"^\| ([\d, ]+)(?: \([^)]*\))? \| .+ \| (.+) \|$", re.MULTILINE)
_FILE = re.compile(r"`(test_\w+\.py)(?:::\w+)?`")


def claims(text: str) -> list[tuple[int, list[tuple[str, str]]]]:
    """Number of each claim, and its tests as file and function."""
    return [(int(number), _TEST.findall(tests)) for number, _, tests in _ROW.findall(text)]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def missing(found: list[tuple[int, list[tuple[str, str]]]]) -> list[str]:
    """Tests that are named and are not there."""
    known = {path.name: functions(path) for path in TESTS.rglob("test_*.py")}
    return [
        f"claim {number}: {file}::{name}"
        for number, tests in found
        for file, name in tests
        if name not in known.get(file, set())
    ]


def test_every_claim_names_tests_that_exist() -> None:
    """Claims are numbered from one, and each has a test at least."""
    found = claims(PAGE.read_text())
    assert [number for number, _ in found] == list(range(1, len(found) + 1)) and len(found) >= 20
    assert [number for number, tests in found if not tests] == []
    assert missing(found) == []


def test_the_page_has_no_row_that_is_not_read() -> None:
    """Every test that the page names stands in a claim's row."""
    text = PAGE.read_text()
    assert len(_TEST.findall(text)) == sum(len(tests) for _, tests in claims(text))
    assert text.count("::test_") == len(_TEST.findall(text))


def test_a_claim_without_its_test_is_seen() -> None:
    """A test that was renamed, and a file that is gone."""
    page = "| 1 | a | `test_stack.py::test_renamed` |\n| 2 | b | `test_gone.py::test_x` |\n"
    assert missing(claims(page)) == ["claim 1: test_stack.py::test_renamed", "claim 2: test_gone.py::test_x"]


def test_every_fault_has_a_row_with_tests_that_exist() -> None:
    """Faults are numbered 1 to 64; what no test causes says so."""
    text = FAULTS.read_text()
    rows = [([int(number) for number in numbers.split(",")], tests) for numbers, tests in _FAULT.findall(text)]
    in_other_rows = {39}  # with 42

    assert {number for numbers, _ in rows for number in numbers} == set(range(1, 65)) - in_other_rows
    assert [numbers for numbers, tests in rows if not _FILE.findall(tests) and "no test" not in tests] == []
    assert missing([(numbers[0], _TEST.findall(tests)) for numbers, tests in rows]) == []
    there = {path.name for path in TESTS.rglob("test_*.py")}
    assert set(_FILE.findall(text)) - there == set()
