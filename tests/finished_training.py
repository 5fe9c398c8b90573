"""What a finished training leaves on S3, without the training.

leave_behind(store, training, settings.get())
"""

import torch

from adodn import models, publish, settings
from adodn.data.store import S3Store
from adodn.publish import Outcome
from adodn.train import checkpoint
from adodn.train.state import build_state
from tune.runs import Training


def leave_behind(s3: S3Store, training: Training, places: settings.Settings) -> Outcome:
    """The checkpoint and the outcome of a training whose weights stayed random."""
    torch.manual_seed(0)
    network = models.build_for(training.config)
    content = checkpoint.to_bytes(build_state(training.config, network, network, 1).state_dict())
    address = f"{places.runs_uri}/{training.run_name}/best"
    s3.put(f"{address}/{checkpoint.FILE_NAME}", content)
    outcome = Outcome(run_name=training.run_name, checkpoint_uri=address, val_nme=0.5, epochs=1, tracking_run_id="none")
    publish.write_outcome(outcome, places)
    return outcome
