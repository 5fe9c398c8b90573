"""From a prediction, or a model, back to the photos that it was trained on; every step checked where it can be.

    chain = trace("predictions.json", settings.get())
    print(chain.text())
    chain.broken                # steps where something is missing or not what it was; empty when all is well

prediction → model → run → config → weights it started from → code → datasets → shards → source images
"""

from adodn.lineage.links import Chain, Link
from adodn.lineage.tracing import trace

__all__ = ["Chain", "Link", "trace"]
