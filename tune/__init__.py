"""Hyperparameter search: Ray Tune runs trials, Optuna chooses and keeps them. Of `adodn`, only commands import it."""
