"""Hyperparameter search: Ray Tune runs trials, Optuna chooses and remembers them. Nothing in `adodn` imports it but commands."""
