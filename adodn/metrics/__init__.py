"""What an error is: NME of faces, parts and landmarks, failures, AUC, CED, visibility. All are fractions.

    errors = nme(predicted, target, normaliser_of(protocol, target, boxes, "outer_eye_corners"))
    100 * mean(errors), failure_rate(errors, 0.10), auc(errors, 0.10)

Nothing here reads files or knows a dataset. What cannot be measured is an error that names the face, never NaN; and no
figure depends on how faces were batched or in which order they came, to the last bit.
"""

from adodn.metrics.arrays import Array, Errors
from adodn.metrics.consistency import auc_bounds, rounded_mean_range, weighted_mean
from adodn.metrics.curves import auc, ced, failure_rate, mean
from adodn.metrics.normalisers import FACE_NORMALISERS, normaliser_names, normaliser_of
from adodn.metrics.points import landmark_errors, nme, nme_by_landmark, nme_of_points, nme_where, nrmse_eq10
from adodn.metrics.published import auc_stepwise, failure_rate_stepwise
from adodn.metrics.visibility import VisibilityScores, visibility_scores

__all__ = [
    "FACE_NORMALISERS",
    "Array",
    "Errors",
    "VisibilityScores",
    "auc",
    "auc_bounds",
    "auc_stepwise",
    "ced",
    "failure_rate",
    "failure_rate_stepwise",
    "landmark_errors",
    "mean",
    "nme",
    "nme_by_landmark",
    "nme_of_points",
    "nme_where",
    "normaliser_names",
    "normaliser_of",
    "nrmse_eq10",
    "rounded_mean_range",
    "visibility_scores",
    "weighted_mean",
]
