"""``aroma refresh``: look, download, build, snapshot, embed, retrain, evaluate, promote; each step taken up again."""
