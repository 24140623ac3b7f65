"""Training of the language model in two stages: supervised fine-tuning, then group relative policy optimisation."""
