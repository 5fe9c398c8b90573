"""Things drawn over faces, with exact knowledge of what they hide: for training, and for masked datasets."""
