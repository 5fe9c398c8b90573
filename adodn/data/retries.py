"""How often and how long one request to a server is tried. It knows neither the server nor what an error means.

    tries = Tries(attempts=5, deadline_s=300, step_s=35)
    while True:
        try:
            return request()
        except TransientError:
            if not tries.pause():
                raise

Time is taken from the monotonic clock: setting the machine's clock changes nothing.
"""

import random
import time

_MAX_PAUSE_S = 20.0


class Tries:
    """The tries of one operation.

    Args:
        attempts: How many there may be.
        deadline_s: Seconds that all of them, and the pauses between, may take together.
        step_s: Seconds that a try may wait at most without being able to look at the clock. None begins that could
            outlast the deadline.
        pause_s: Longest first pause; the longest doubles each time, up to 20 s. Pauses are drawn between nought and
            their longest, so that many clients do not come back at once.
    """

    def __init__(self, *, attempts: int, deadline_s: float, step_s: float, pause_s: float = 1.0) -> None:
        self.count = 1
        self._attempts = attempts
        self._deadline_s = deadline_s
        self._step_s = step_s
        self._pause_s = pause_s
        self._start = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first try began."""
        return time.monotonic() - self._start

    @property
    def left_s(self) -> float:
        """Seconds left for steps that look at the clock."""
        return self._deadline_s - self.elapsed_s

    def pause(self) -> bool:
        """Wait before the next try; False, at once, if there may be none."""
        longest = min(_MAX_PAUSE_S, self._pause_s * 2 ** (self.count - 1))
        wait = random.uniform(0, longest)
        if self.count >= self._attempts or self.left_s < wait + self._step_s:
            return False
        time.sleep(wait)
        self.count += 1
        return True
