"""The page of two models on the same faces.

html = render(comparison_page(a, b, "full"))
"""

import numpy as np

from adodn.evaluate import FaceErrors
from adodn.plots import words
from adodn.report import drawings, faces, published, tables
from adodn.report import words as say
from adodn.report.blocks import Block, Bullets, Figure, Page, Paragraph, Picture, Section
from adodn.report.selection import called, compared_faces, differing, of_subset, usual_subset
from adodn.report.single import beside_blocks, config_blocks
from adodn.report.statistics import Look, compare, distinct_subsets
from adodn.report.subject import Subject

_MAPPED = 2
"""Faces of each kind whose maps are shown."""


def comparison_page(a: Subject, b: Subject, subset: str = "") -> Page:
    """Whether two models differ, by how much, where, and how sure that is.

    Args:
        a: One model. Faces are drawn from its crops.
        b: The other.
        subset: Whose faces are drawn and summed up; `full` or all faces where not given.

    Raises:
        ConfigError: If there is no such subset, or it has a single face.
        DataError: If the two are not of the same faces, annotation and measure.
    """
    subset = subset or usual_subset(a.report)
    drawn = compared_faces(a.report, b.report, subset)
    errors = of_subset(a.report, subset), of_subset(b.report, subset)
    names = distinct_subsets(a.report, subset)
    looks = compare(a.report, b.report, {name: (name, "nme") for name in names})
    own = next((look for look in looks if look.name == subset), None)
    sections = (
        Section(title="Is one better?", blocks=_verdicts(a, b, looks, subset)),
        Section(title="How errors are spread", blocks=(_spread(a, b, *errors),)),
        Section(title="Where on a face they differ", blocks=_heat(a, b, subset, *errors)),
        *_faces(a, b, *errors, drawn <= a.crops.keys() & b.crops.keys()),
        Section(title="What may be concluded, and what may not", blocks=(Bullets(items=say.meaning_of_two()),)),
        Section(title="Provenance", blocks=_provenance(a, b, subset)),
    )
    lead = say.verdict(own, "A", "B") if own else f"Subset {subset} has too few faces for a comparison."
    of = called(a.report, subset)
    return Page(title=f"A: {a.name} against B: {b.name} on {of}", lead=lead, sections=sections)


def _verdicts(a: Subject, b: Subject, looks: list[Look], subset: str) -> tuple[Block, ...]:
    caption = f"Both models on each subset. Errors are in per cent of {say.normaliser(a.report.normaliser)}."
    others = tuple(say.verdict(look, "A", "B") for look in looks if look.name != subset)
    papers = published.beside([(f"A: {a.name}", a.report), (f"B: {b.name}", b.report)])
    table = tables.comparison(looks, caption, "subset", strong=subset)
    return (table, *([Bullets(items=others)] if others else []), *beside_blocks(papers))


def _spread(a: Subject, b: Subject, errors_a: FaceErrors, errors_b: FaceErrors) -> Figure:
    threshold = max(a.report.thresholds, default=0.10)
    curves = {"A": errors_a.nme, "B": errors_b.nme}
    share = float(np.mean(errors_a.nme < errors_b.nme))
    drawn = drawings.ced(curves, a.report.normaliser, threshold=threshold, size_in=(3.6, 3.6))
    return Figure(
        pictures=(
            Picture(
                uri=drawn,
                alt="Curves of cumulated errors of A and B: the share of faces below each error",
            ),
            Picture(
                uri=drawings.scatter(errors_a.nme, errors_b.nme),
                alt=f"Error of each face by A against that by B; A is smaller on {share:.0%} of the faces",
            ),
        ),
        caption="Cumulative error distributions, where farther up and to the left is better; and each face as a point, "
        "to the right by its error under A, upwards by its error under B: above the line A is better.",
    )


def _heat(a: Subject, b: Subject, subset: str, errors_a: FaceErrors, errors_b: FaceErrors) -> tuple[Block, ...]:
    protocol, face = errors_a.protocol, drawings.mean_face(errors_a)
    differences = (errors_a.landmark_errors - errors_b.landmark_errors).mean(axis=0)
    by_part = {part: float(differences[list(points)].mean()) for part, points in protocol.parts.items()}
    farthest = words(protocol.names[int(np.argmax(np.abs(differences)))])
    pictures = [
        Picture(
            uri=drawings.landmark_heat(protocol, face, differences, two_sided=True),
            alt=f"Mean face, landmarks coloured by A − B; they lie farthest apart at {farthest}",
        )
    ]
    if by_part:
        uri = drawings.part_heat(protocol, face, by_part, differences, two_sided=True)
        pictures.append(Picture(uri=uri, alt="Mean face, parts coloured by A − B"))
    looks = compare(a.report, b.report, {name: (subset, f) for name, f in tables.part_figures(a.report).items()})
    caption = f"Both models by part of the face, subset {subset}; p-values are adjusted for the rows of this table."
    figure = Figure(
        pictures=tuple(pictures),
        caption="The difference of mean errors of each landmark, and of each part, on the mean face. Blue: A is better "
        "there; orange: B is. Right and left are the person's own: right is at the left of the picture.",
    )
    return (figure, tables.comparison(looks, caption, "part"))


def _faces(a: Subject, b: Subject, errors_a: FaceErrors, errors_b: FaceErrors, are_there: bool) -> tuple[Section, ...]:
    title = "Faces on which they differ most"
    if not are_there:
        text = "Faces are not stored with an evaluation; name their dataset, and they are drawn."
        return (Section(title=title, blocks=(Paragraph(text=text),)),)
    gallery = faces.differing_faces(a, b, errors_a, errors_b)
    if gallery is None:
        return (Section(title=title, blocks=(Paragraph(text="The two models have the same error on every face."),)),)
    keys = [key for kind in differing(errors_a, errors_b) for key in kind[:_MAPPED]]
    maps = faces.map_rows({"A": a, "B": b}, errors_a, keys)
    more = (Section(title="What the occlusion modules see there", blocks=(maps,)),) if maps else ()
    return (Section(title=title, blocks=(gallery,)), *more)


def _provenance(a: Subject, b: Subject, subset: str) -> tuple[Block, ...]:
    table = tables.provenance({"A": a, "B": b}, subset)
    return (table, *config_blocks({"The whole experiment of A": a, "The whole experiment of B": b}))
