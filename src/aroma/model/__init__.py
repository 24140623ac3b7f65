"""What learns: the plug-in contract, data sets and splits, evaluation, and the predictors."""
