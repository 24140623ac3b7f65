"""Evidence store for perturbation biology."""

__version__ = "0.1.0"
