"""What is said when the processes of a training failed for good: one line, the failure that began it, the way on.

pytest tests/unit/test_lost_trainings.py
"""

from adodn.train.failures import lost


def test_the_failure_that_began_it_is_named() -> None:
    """Ranks that lost touch with the one that failed say so at length; the other's word counts."""
    failures = {0: RuntimeError("[gloo/transport] Connection closed by peer"), 1: OSError("no space left")}

    said = str(lost("first", failures))

    assert said.startswith("run 'first' ended") and "on rank 1 with OSError: no space left; " in said
    assert said.endswith("start it again under its name: it goes on at its last checkpoint")


def test_want_of_memory_has_a_way_out() -> None:
    """Whoever ran out of memory is told of micro-batches; others are not."""
    assert "--micro-batch" in str(lost("first", {0: MemoryError("no room")}))
    assert "--micro-batch" not in str(lost("first", {0: OSError("no room")}))


def test_it_is_one_line_of_bounded_length() -> None:
    """Ray's messages have paragraphs."""
    said = str(lost("first", {None: RuntimeError("word\n\t" * 2000)}))

    assert "\n" not in said and len(said) < 600
