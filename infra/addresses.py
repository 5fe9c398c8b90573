"""Who may reach this machine: Ray that is open to other machines listens on all of a machine's addresses.

if open_to := public_addresses(): sys.stderr.write(warning(open_to))
"""

from collections.abc import Sequence
from ipaddress import ip_address

import psutil


def public_addresses() -> list[str]:
    """Addresses of this machine that are routed on the internet, IPv4 and IPv6."""
    found = [entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries]
    return sorted(address for address in found if _is_public(address))


def _is_public(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:  # a hardware address
        return False


def warning(addresses: Sequence[str]) -> str:
    """What whoever opens Ray to other machines is told if the internet may reach this one."""
    return (
        f"warning: Ray listens on all addresses of this machine, {', '.join(addresses)} too, and does not encrypt; "
        "close its ports there with a firewall"
    )
