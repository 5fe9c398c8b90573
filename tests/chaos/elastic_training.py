"""A training by the library's own call, with settings that the command does not have. Prints what it comes to.

python -m tests.chaos.elastic_training DATASET_URI RUN_NAME RECIPE_CHANGES RESOURCES      # the last two as JSON
"""

import json
import sys
from dataclasses import asdict

from adodn import recipes, settings
from adodn.commands.train import trained
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.train.loaders import on_data


def main(dataset_uri: str, run_name: str, changes: str, resources: str) -> None:
    """Train, or go on training."""
    places = settings.get()
    manifest = read_manifest(S3Store.from_settings(places), dataset_uri)
    config = on_data(recipes.get("adodn_smoke").with_fields(json.loads(changes)), [manifest])
    outcome = trained(config, [dataset_uri], run_name, places, **json.loads(resources))
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
