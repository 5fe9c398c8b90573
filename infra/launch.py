"""Becomes a service: what the supervisor runs, also when a service has died. Not meant for people.

python -m infra.launch s3
"""

import os
import sys

from adodn import settings
from infra.config import StackConfig
from infra.folder import StackFolder
from infra.processes import end_all
from infra.services import SERVICES


def main() -> None:
    """End what a dead predecessor left on the ports, then execute the service in this process's place."""
    name = sys.argv[1]
    service, config = SERVICES[name], StackConfig.recorded(StackFolder(settings.home()))
    if service.owns_children:
        end_all(config.folder.home, name)
    command = service.command(config)
    os.execve(command.argv[0], command.argv, {**os.environ, **command.env})


if __name__ == "__main__":
    main()
