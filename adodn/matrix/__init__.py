"""Many models on many datasets: a table train × test, each cell evaluated once and kept on S3 by what it is of.

    prepared = prepare(models, columns, Showing(), places)          # loads models, reads manifests; nothing is run
    outcome = run_matrix(prepared, places, address=None, told=print)
    print(outcome.to_markdown())

`cells` says what a cell is and where it is kept, `driver` which are left to do, `cluster` runs those on Ray, `table`
makes text of them all, and `picture` a heat map.
"""

from adodn.matrix.cells import Column, Given
from adodn.matrix.driver import Prepared, prepare, run_matrix
from adodn.matrix.table import Entry, Matrix

__all__ = ["Column", "Entry", "Given", "Matrix", "Prepared", "prepare", "run_matrix"]
