"""`docs/methods.md` names only what exists.

pytest tests/unit/test_methods_page.py
"""

import re
from pathlib import Path

from adodn import recipes

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(r"`([^`\s]+)`", (ROOT / "docs" / "methods.md").read_text())


def test_files_exist() -> None:
    """Every path on the page is a file."""
    paths = [name for name in NAMED if name.endswith((".py", ".json"))]

    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_tests_exist() -> None:
    """Every test on the page is defined once."""
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = {name for name in NAMED if name.startswith("test_")}

    assert len(names) > 20
    assert [name for name in sorted(names) if sources.count(f"def {name}(") != 1] == []


def test_recipes_exist() -> None:
    """Every recipe on the page can be trained, and every recipe of a published row is on the page."""
    named = {name for name in NAMED if re.fullmatch(r"(adodn|odn|cnt|vanilla|mobilenet|resnext)_[a-z0-9_]+", name)}
    published = {name for name, recipe in recipes.RECIPES.items() if "Paper: Table" in (recipe.__doc__ or "")}

    assert named <= set(recipes.RECIPES)
    assert published <= named
