"""The page of one model.

html = render(model_page(subject, "full"))
"""

import json

import numpy as np

from adodn.evaluate import FaceErrors
from adodn.plots import COLOURS, words
from adodn.report import drawings, faces, published, tables
from adodn.report import words as say
from adodn.report.blocks import Block, Bullets, Details, Figure, Page, Paragraph, Picture, Section
from adodn.report.selection import called, mapped_faces, of_subset, shown_faces, usual_subset
from adodn.report.statistics import distinct_subsets, mean_error
from adodn.report.subject import Subject


def model_page(subject: Subject, subset: str = "") -> Page:
    """Everything that is known of a model on one dataset.

    Args:
        subject: The model. What it lacks (crops, maps, provenance) is left out, and named on the page.
        subset: Whose faces are drawn and summed up; `full` or all faces where not given.

    Raises:
        ConfigError: If there is no such subset.
    """
    report = subject.report
    subset = subset or usual_subset(report)
    errors = of_subset(report, subset)
    of = called(report, subset)
    sections = (
        Section(title="Headline figures", blocks=_headline(subject, subset)),
        Section(title="How errors are spread", blocks=(_curves(subject, subset),)),
        Section(title="Where errors lie on a face", blocks=_heat(subject, subset, errors)),
        *_faces(subject, subset, errors),
        *_boxes(subject),
        Section(title="How to read these figures", blocks=(Bullets(items=say.meaning_of_one(report.normaliser)),)),
        Section(title="What is not here, and what was checked", blocks=_left_out(subject, subset)),
        Section(title="Provenance", blocks=_provenance(subject, subset)),
    )
    return Page(
        title=f"{subject.name} on {of}",
        lead=say.mean_sentence(mean_error(errors.nme), report.normaliser, of),
        sections=sections,
    )


def _headline(subject: Subject, subset: str) -> tuple[Block, ...]:
    groups = published.beside([(subject.name, subject.report)])
    return (tables.headline(subject.report, subset), *beside_blocks(groups))


def beside_blocks(groups: list[published.Beside]) -> tuple[Block, ...]:
    """Tables of papers with what must be known of them; a sentence where no paper speaks of the dataset."""
    if not groups:
        return (Paragraph(text="None of the papers that this project follows prints figures for this dataset."),)
    blocks: list[Block] = []
    for group in groups:
        blocks.append(tables.papers(group))
        notes = [row.note for row in group.papers if row.note]
        if any(value is None for _, values in group.ours for value in values):
            notes.append(
                f"{say.NONE} in a row of ours: this dataset does not have just the faces that the papers measured on, "
                "or was measured otherwise, so no figure may stand there."
            )
        if notes:
            blocks.append(Bullets(items=tuple(notes)))
    return tuple(blocks)


def _curves(subject: Subject, subset: str) -> Figure:
    report = subject.report
    by_subset = report.errors.by_subset()
    chosen = {name: by_subset[name] for name in distinct_subsets(report, subset)[: len(COLOURS)]}
    threshold = max(report.thresholds, default=0.10)
    uri = drawings.ced(chosen, report.normaliser, threshold=threshold)
    alt = f"Curves of cumulated errors of {', '.join(chosen)}: the share of faces below each error"
    caption = (
        "Cumulative error distribution: the share of faces (upwards) whose NME is below a value (to the right). A "
        f"curve farther up and to the left is better. AUC and failures are those to {100 * threshold:g} %."
    )
    return Figure(pictures=(Picture(uri=uri, alt=alt),), caption=caption)


def _heat(subject: Subject, subset: str, errors: FaceErrors) -> tuple[Block, ...]:
    protocol, face = errors.protocol, drawings.mean_face(errors)
    by_landmark = errors.landmark_errors.mean(axis=0)
    by_part = {part: float(by_landmark[list(points)].mean()) for part, points in protocol.parts.items()}
    worst = words(protocol.names[int(np.argmax(by_landmark))])
    points = drawings.landmark_heat(protocol, face, by_landmark)
    pictures = [Picture(uri=points, alt=f"Mean face, landmarks coloured by error; the largest is {worst}'s")]
    if by_part:
        largest = words(max(by_part, key=by_part.__getitem__))
        lines = drawings.part_heat(protocol, face, by_part, by_landmark)
        pictures.append(Picture(uri=lines, alt=f"Mean face, parts coloured by error; the largest is {largest}'s"))
    caption = (
        f"Mean errors on the mean face of subset {subset}: of each landmark, and of each part. Dark is large. Right "
        "and left are the person's own: right is at the left of the picture."
    )
    figure = Figure(pictures=tuple(pictures), caption=caption)
    return figure, tables.parts(subject.report, subset), tables.worst_landmarks(subject.report, subset)


def _faces(subject: Subject, subset: str, errors: FaceErrors) -> tuple[Section, ...]:
    if not shown_faces(subject.report, subset) <= subject.crops.keys():
        return ()
    sections = [Section(title="Best, median and worst faces", blocks=(faces.extreme_faces(subject, errors),))]
    maps = faces.map_rows({subject.name: subject}, errors, mapped_faces(errors))
    if maps:
        sections.append(Section(title="What the occlusion module sees", blocks=(maps,)))
    return tuple(sections)


def _boxes(subject: Subject) -> tuple[Section, ...]:
    if not subject.report.box_jitter:
        return ()
    return (Section(title="How much hangs on the boxes", blocks=(tables.box_jitter(subject.report),)),)


def _left_out(subject: Subject, subset: str) -> tuple[Block, ...]:
    report = subject.report
    missing = list(say.lacking(report.left_out))
    if not shown_faces(report, subset) <= subject.crops.keys():
        missing.append("Faces: they are not stored with an evaluation; name its dataset, and they are drawn.")
    elif not subject.maps:
        missing.append("Occlusion maps: this network has no occlusion module, or only its evaluation was given.")
    if subject.provenance is None:
        missing.append("Fingerprint, weights and environment: the evaluation does not say where it comes from.")
    checked = tuple(f"Checked before this page was made: {sentence}." for sentence in report.checks)
    return (Bullets(items=(*missing, *checked)),)


def _provenance(subject: Subject, subset: str) -> tuple[Block, ...]:
    table = tables.provenance({"": subject}, subset)
    return (table, *config_blocks({"The whole experiment": subject}))


def config_blocks(subjects: dict[str, Subject]) -> tuple[Block, ...]:
    """The config of each model whose provenance is known, to be unfolded."""
    return tuple(
        Details(title=title, text=json.dumps(json.loads(subject.provenance.config), indent=2, ensure_ascii=False))
        for title, subject in subjects.items()
        if subject.provenance
    )
