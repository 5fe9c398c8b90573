"""Train facial landmark detectors that keep working when faces are covered."""

__version__ = "0.1.0"
__all__ = ["__version__"]
