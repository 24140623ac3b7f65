"""What an operator sees of running programs: structured logs and traces."""
