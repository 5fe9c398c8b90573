"""Under what terms the benchmarks are given out, as far as their pages say: for model cards, not for courts.

terms_of("300w-as-29")          # of the dataset behind it
"""

import re

_RESEARCH = "for research, not for commercial use; the terms on the page also say whether images may be shown"
_TERMS = {
    "300w": f"{_RESEARCH}: https://ibug.doc.ic.ac.uk/resources/300-W/",
    "300w-private": f"{_RESEARCH}: https://ibug.doc.ic.ac.uk/resources/300-W/",
    "300vw": f"{_RESEARCH}: https://ibug.doc.ic.ac.uk/resources/300-VW/",
    "aflw": "images on request, for research, not to be passed on: "
    "https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw/",
    "cofw": "stated on its page; the photos belong to their owners: https://data.caltech.edu/records/bc0bf-nc666",
    "cofw68": "annotations for research, https://github.com/golnazghiasi/cofw68-benchmark; images are COFW's",
    "mtfl": f"{_RESEARCH}: https://mmlab.ie.cuhk.edu.hk/projects/TCDCN.html",
    "synthetic": "rendered by adodn itself; there is no photo in it",
    "wflw": f"{_RESEARCH}: https://wywu.github.io/projects/LAB/WFLW.html",
}
_UNKNOWN = "unknown to adodn: ask whoever made the dataset"


def terms_of(dataset: str) -> str:
    """The terms of a dataset by the name in its manifest; of a masked or mapped one, those of the faces behind it."""
    source = re.sub(r"^(masked-)*|(-as-[^/]*)$", "", dataset)
    return _TERMS.get(source, _UNKNOWN)
