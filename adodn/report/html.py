"""A page as one HTML file: nothing is fetched, nothing is run, and no text can become markup.

html = render(page)
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adodn.report.blocks import Page

_FOLDER = Path(__file__).parent / "templates"


def render(page: Page) -> str:
    """The whole file. Equal pages give equal text."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html").render(page=page).lstrip()
