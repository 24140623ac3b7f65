"""Predictors of outcomes, each a plug-in."""
