"""`ray start` of one more node on loopback, which Ray keeps to Windows and macOS and there to one node.

python -m tests.chaos.loopback_node start --block --address 127.0.0.1:6380 …
"""

from ray._private import ray_constants, services
from ray.scripts.scripts import main

from infra.config import HOST

if __name__ == "__main__":
    # In this process alone: the node's own processes are told their addresses.
    ray_constants.ENABLE_RAY_CLUSTER = True
    services.get_node_ip_address = lambda address=None: HOST
    main()
