"""`adodn predict`: landmarks of faces in an image file."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from adodn import publish, settings
from adodn.data import images
from adodn.output_files import make_folder_of, write_file
from adodn.plots import ShownFace, face_sheet
from adodn.predict import FacePrediction, Predictor
from adodn.predictions import Predictions
from adodn.samples import Box


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("predict")(predict)


def predict(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, a run's name, or a folder.")],
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JPEG or PNG.")],
    box: Annotated[list[str], typer.Option(help="X0,Y0,X1,Y1 of a face in pixels; once for each face.")],
    out: Annotated[Path | None, typer.Option(help="JPEG to write: each face with its landmarks drawn.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="JSON file to write: landmarks, and model, photo and code by their hashes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what --save writes.")] = False,
) -> None:
    """Find the landmarks of faces whose boxes are known, in pixels of the image; (0, 0) is a pixel's centre.

    `adodn lineage FILE` follows what --save writes back to the photos that the model was trained on.
    """
    boxes = [_box(text) for text in box]
    if save and not save.parent.is_dir():
        raise typer.BadParameter(f"--save {save}: there is no folder {save.parent}; make it first")
    make_folder_of(out)
    make_folder_of(save, option="--save")
    content = image.read_bytes()
    pixels = images.decode(content, str(image))
    known = publish.load_known(model, settings.get())
    faces = Predictor(known.network, known.config)([pixels] * len(boxes), boxes)
    said = Predictions.of(known.origin, content, image.name, boxes, faces).to_json()
    if out:
        shown = [_shown(pixels, box, face) for box, face in zip(boxes, faces, strict=True)]
        write_file(out, face_sheet({image.name: shown}))
    if save:
        write_file(save, f"{said}\n".encode(), option="--save")
    if as_json:
        typer.echo(said)
    else:
        typer.echo("\n\n".join(_lines(face) for face in faces))


def _box(text: str) -> Box:
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"a box is X0,Y0,X1,Y1 in pixels, e.g. 40,32,180,190, got {text!r}") from error
    if not (x1 > x0 and y1 > y0):
        raise typer.BadParameter(f"a box must have X1 > X0 and Y1 > Y0, got {text!r}")
    return x0, y0, x1, y1


def _shown(pixels: NDArray[np.uint8], box: Box, face: FacePrediction) -> ShownFace:
    """The face cut out with half its size around it, so that points beside the box are seen, too."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = box
    border = 0.25 * max(x1 - x0, y1 - y0)
    left, top = (int(min(max(edge - border, 0), limit - 1)) for edge, limit in ((x0, width), (y0, height)))
    right, bottom = (int(max(edge + border, low + 1)) for edge, low in ((x1, left), (y1, top)))
    cut = pixels[top:bottom, left:right]
    return ShownFace(image=cut, caption="", prediction=face.landmarks - (left, top))


def _lines(face: FacePrediction) -> str:
    return "\n".join(f"{x:.2f} {y:.2f}" for x, y in face.landmarks)
