"""Which addresses of Ray's head are taken.

pytest tests/unit/test_ray_address.py
"""

import pytest

from adodn.errors import StackError
from adodn.train import distributed


@pytest.mark.parametrize("address", ["localhost", "auto", "h:", ":6380", "h:p"])
def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    """With its form and what was given, before anybody is asked."""
    with pytest.raises(StackError, match=f"must be HOST:PORT, got '{address}'"):
        distributed.connect(address)
