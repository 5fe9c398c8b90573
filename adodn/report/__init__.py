"""What an evaluation found, for people: one HTML file a model or a comparison, and a summary in Markdown.

    subject = Subject(label="first", report=report, provenance=provenance_of(network, config), crops=crops, maps=maps)
    html = render(model_page(subject))
    html = render(comparison_page(one, other))
    markdown = summary_markdown(report)

A page needs nothing but itself: no network, no script. Knows no store, no server and no loader.
"""

from adodn.report.blocks import Page
from adodn.report.comparison import comparison_page
from adodn.report.html import render
from adodn.report.maps import FaceMaps, face_maps
from adodn.report.provenance import PROVENANCE, Provenance, provenance_of
from adodn.report.selection import compared_faces, shown_faces, usual_subset
from adodn.report.single import model_page
from adodn.report.subject import Subject, is_evaluation, read_evaluation
from adodn.report.summary import summary_markdown

__all__ = [
    "PROVENANCE",
    "FaceMaps",
    "Page",
    "Provenance",
    "Subject",
    "compared_faces",
    "comparison_page",
    "face_maps",
    "is_evaluation",
    "model_page",
    "provenance_of",
    "read_evaluation",
    "render",
    "shown_faces",
    "summary_markdown",
    "usual_subset",
]
