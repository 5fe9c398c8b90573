"""Pages of reports in a real browser without network: they load alone, fit a phone and a sheet, and trust no name.

pytest tests/unit/test_report_page.py
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from adodn.report import Page, Subject, comparison_page, model_page, render
from tests.browser import open_page
from tests.report_subjects import errors, provenance, report, with_pictures

EVIL = "$\\frac$<script>document.title='owned'</script>\"'><img src=x onerror=document.title='owned'>&amp;{{ 7*7 }}"
LONG = "long_" * 60
SUBSETS = [("full", "common"), ("full", "challenging")] * 15
PAPER_PX = round((210 - 2 * 15) / 25.4 * 96)
"""Width of A4 between its margins."""
_CONTRASTS = """
(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
  return [...document.body.querySelectorAll('*')].filter(e => [...e.childNodes].some(
    n => n.nodeType === 3 && n.textContent.trim())).map(e => {
      const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05); });
})()
"""


def subject(label: str, mean: float, seed: int) -> Subject:
    found = report(errors(30, mean, seed), subsets=SUBSETS, covered=20)
    return with_pictures(label, found, provenance(label))


def hostile(seed: int = 0) -> Subject:
    keys = sorted(f"{EVIL}{place:02d}{LONG if place == 3 else ''}" for place in range(30))
    subsets = [(EVIL,), (LONG,)] * 15
    found = report(errors(30, 0.05, seed), subsets=subsets, keys=keys, dataset=EVIL, covered=20)
    return with_pictures(EVIL, found, provenance(EVIL + LONG))


MAKERS: dict[str, Callable[[], Page]] = {
    "model": lambda: model_page(subject("one", 0.05, 0)),
    "comparison": lambda: comparison_page(subject("one", 0.05, 0), subject("other", 0.06, 1)),
    "hostile model": lambda: model_page(hostile()),
    "hostile comparison": lambda: comparison_page(hostile(), hostile(1), EVIL),
}


@pytest.fixture(params=list(MAKERS))
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Page, Path]:
    """A page, and the file that it was written to."""
    page = MAKERS[request.param]()
    path = tmp_path / "page.html"
    path.write_text(render(page), encoding="utf-8")
    return page, path


def test_a_page_needs_nothing_but_itself(written: tuple[Page, Path]) -> None:
    """On a phone: nothing fetched or complained about, every image there, no overflow, names shown as they are."""
    page, path = written

    with open_page(path, width_px=375) as shown:
        widths = shown.evaluate("[...document.images].map(i => i.naturalWidth)")
        alts = shown.evaluate("[...document.images].map(i => i.alt)")
        sources = shown.evaluate("[...document.images].map(i => i.src.slice(0, 11))")
        heads = shown.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
        overflow = shown.evaluate("document.documentElement.scrollWidth")
        title = shown.evaluate("document.title")
        heading = shown.evaluate("document.querySelector('h1').textContent")
        active = shown.evaluate(
            "document.querySelectorAll('script, iframe, object, embed, form, link[href^=http]').length"
        )
        contrasts = shown.evaluate(_CONTRASTS)

    assert shown.messages == []
    assert shown.requests == [path.as_uri()]
    assert len(widths) > 15 and min(widths) > 0
    assert all(alt.strip() for alt in alts) and set(sources) == {"data:image/"}
    assert heads[0] == 1 and all(later - earlier <= 1 for earlier, later in itertools.pairwise(heads))
    assert overflow <= 375
    assert heading == page.title and " ".join(title.split()) == " ".join(page.title.split())
    assert active == 0
    assert len(contrasts) > 50 and min(contrasts) >= 4.5


@pytest.mark.parametrize("maker", ["model", "comparison"])
def test_a_page_fits_a_sheet_of_paper(maker: str, tmp_path: Path) -> None:
    """Printed on A4, no table, ten columns included, and no picture is wider than the paper between its margins."""
    path = tmp_path / "page.html"
    path.write_text(render(MAKERS[maker]()), encoding="utf-8")

    with open_page(path, width_px=PAPER_PX) as shown:
        shown.call("Emulation.setEmulatedMedia", media="print")
        edges = shown.evaluate("[...document.querySelectorAll('table, img')].map(e => e.getBoundingClientRect().right)")
        columns = shown.evaluate("Math.max(...[...document.querySelectorAll('tr')].map(r => r.cells.length))")
        hidden = shown.evaluate("getComputedStyle(document.querySelector('nav')).display")

    assert columns == {"model": 8, "comparison": 10}[maker]
    assert max(edges) <= PAPER_PX and len(edges) > 20
    assert hidden == "none"


def test_the_browser_would_tell(tmp_path: Path) -> None:
    """What these tests look for is seen: a fetch, a refused script, an overflow."""
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
    path = tmp_path / "bad.html"
    path.write_text(f"{policy}<img src='http://example.com/a.png'><script>1</script><p style='width: 900px'>wide</p>")

    with open_page(path, width_px=375) as shown:
        broken = shown.evaluate("document.images[0].naturalWidth")

    assert broken == 0
    assert len(shown.messages) >= 2 and any("Content Security Policy" in message for message in shown.messages)


def test_equal_input_gives_equal_bytes() -> None:
    """Nothing in a page says when or where it was made."""
    assert render(MAKERS["comparison"]()) == render(MAKERS["comparison"]())
