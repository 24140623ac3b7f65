"""Evaluation of predicted outcomes: measures, their intervals, their baselines, and the reports that show them."""
