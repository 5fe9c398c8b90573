"""`adodn patterns`: which landmarks are hidden together on COFW68's faces, as a file for `adodn train --patterns`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from adodn import protocols
from adodn.datasets import cofw68
from adodn.occlusion.patterns import Patterns
from adodn.output_files import make_folder_of, write_file


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("patterns")(patterns)


def patterns(
    root: Annotated[Path, typer.Argument(help="Folder of COFW68's annotations; its images are not needed.")],
    out: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Write the patterns of occlusion of COFW68, whose terms hold for the file as well."""
    make_folder_of(out, option="OUT")
    faces = cofw68.read_annotations(root)
    measured = Patterns.measured(
        protocols.get("68"),
        np.stack([face.visible for face in faces]),
        np.stack([face.landmarks for face in faces]),
    )
    write_file(out, measured.to_json().encode(), option="OUT")
    typer.echo(f"{len(measured.hidden)} patterns of {len(faces)} faces: {out}")
