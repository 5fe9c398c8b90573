"""From predictions to results that name everything: dataset digest, subset, protocol, normaliser, threshold, faces.

    errors = face_errors(predict, loader, protocol, "outer_eye_corners")
    result = report(errors, "300w", manifest.digest, "outer_eye_corners")
    result.value("300w/challenging nme@outer_eye_corners")
    a, b = paired(result, read_report(other_npz, where))            # refused unless of the same faces and annotation

Knows no model (only a function from images to landmarks), and sends nothing anywhere.
"""

from adodn.evaluate.conditions import Conditions
from adodn.evaluate.crops import Crop, gather
from adodn.evaluate.faces import ALL, FaceErrors, figure_names
from adodn.evaluate.figures import ERRORS, FIGURES, EvaluationReport, Jittered, Result, read_report, report
from adodn.evaluate.measuring import PredictFn, Seen, face_errors, joined, to_image
from adodn.evaluate.pairing import aligned, paired

__all__ = [
    "ALL",
    "ERRORS",
    "FIGURES",
    "Conditions",
    "Crop",
    "EvaluationReport",
    "FaceErrors",
    "Jittered",
    "PredictFn",
    "Result",
    "Seen",
    "aligned",
    "face_errors",
    "figure_names",
    "gather",
    "joined",
    "paired",
    "read_report",
    "report",
    "to_image",
]
