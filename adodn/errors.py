"""Every error that adodn raises on purpose.

    AdodnError
    ├── DataError                  something is wrong with data that was given to us
    │   ├── AnnotationError        a raw annotation or image cannot be read (path, line)
    │   ├── ManifestError          a manifest is missing, broken, or disagrees with its shards
    │   └── ShardError             the bytes of a shard are not those that its manifest names
    ├── StorageError               the object store refused, or could not be reached
    ├── ConfigError                a recipe, config or parameter is unknown or not allowed
    ├── CheckpointError            a checkpoint or model file does not fit, or is damaged
    │   └── AnotherSavesError      another process saves this run now
    ├── TrainingDivergedError      the loss is not finite
    ├── TrainingLostError          the processes of a training failed again and again
    ├── TrackingError              the MLflow server refused, or could not be reached
    │   └── TrackingAwayError      it could not be reached, or no room was left on the way
    ├── SearchError                a study is another search's, in use, or its database could not be reached
    ├── PromotionRefusedError      a model may not take an alias
    ├── ResourcesError             the cluster has no room for what is to run on it
    └── StackError                 the local services could not be started or stopped

A message says what, the rule, the value, where, and the way out, in one sentence or two. Programming errors inside the
library stay `ValueError`, `TypeError` and `AssertionError`.
"""


class AdodnError(Exception):
    """Base of all errors that a user can cause and can mend."""


class DataError(AdodnError):
    """Something is wrong with data that was given to us."""


class AnnotationError(DataError):
    """A raw annotation or image cannot be read; the message names file and line."""


class ManifestError(DataError):
    """A manifest is missing, broken, newer than this code, or disagrees with its shards."""


class ShardError(DataError):
    """The bytes of a shard are not those that its manifest names."""


class StorageError(AdodnError):
    """The object store refused, or could not be reached."""


class ConfigError(AdodnError):
    """A recipe, config or parameter is unknown or not allowed."""


class CheckpointError(AdodnError):
    """A checkpoint or model file does not fit, or is damaged."""


class AnotherSavesError(CheckpointError):
    """Another process saves this run now: one of a group that was given up, or of a training that was started twice."""


class TrainingDivergedError(AdodnError):
    """The loss is not finite; nothing was updated with it."""


class TrainingLostError(AdodnError):
    """The processes of a training failed again and again; what they had come to can be gone on with."""


class TrackingError(AdodnError):
    """The MLflow server refused, or could not be reached."""


class TrackingAwayError(TrackingError):
    """The MLflow server could not be reached, or no room was left on the way; the same call may well succeed later."""


class SearchError(AdodnError):
    """A study is another search's, in use, or its database could not be reached."""


class PromotionRefusedError(AdodnError):
    """A model may not take an alias; the message says which rule stood against it."""


class ResourcesError(AdodnError):
    """The cluster has no room for what is to run on it, or not in time."""


class StackError(AdodnError):
    """The local services could not be started or stopped."""
