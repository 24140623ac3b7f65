"""The questions of ``aroma.retrieval`` as tools for agents, by the Model Context Protocol; nothing here writes."""
