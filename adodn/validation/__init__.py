"""Checks every face of a raw dataset before it is sharded. It changes nothing, and asks sharding what it refuses.

report = validate(datasets.open("300w", root))
report.counts()                     # {"zero-normaliser": 1, …}
publish(report, dataset, folder)    # report.json, report.md and pictures of the worst faces
"""

from adodn.validation.publishing import publish
from adodn.validation.report import Report
from adodn.validation.survey import validate

__all__ = ["Report", "publish", "validate"]
