"""From faces to shards on S3, and from shards to batches."""
