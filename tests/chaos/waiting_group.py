"""A group of workers for which there never is room, on the stack's Ray: says what its training ends with.

python -m tests.chaos.waiting_group
"""

import sys

from adodn import settings
from adodn.commands.train import prepare_ray


def main() -> None:
    """Ask for more than a node has, past the check that a training makes before."""
    places = settings.get()
    prepare_ray(places)
    from ray.train import ControllerError, ScalingConfig  # Ray reads its variables when it is imported

    from adodn.train import distributed, scaling

    distributed.connect(places.ray_address)
    room = scaling.Room(per_worker={"CPU": 64.0}, sizes=(1, 2), patience_s=3)
    wanted = ScalingConfig(num_workers=(1, 2), resources_per_worker=room.per_worker)
    try:
        scaling.Trainer(lambda: None, room=room, scaling_config=wanted).fit()
    except ControllerError as error:
        failure = error.controller_failure
        sys.stdout.write(f"{type(failure).__name__}: {failure}\n")


if __name__ == "__main__":
    main()
