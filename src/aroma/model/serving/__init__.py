"""Models in service: the store, what is served since when, promotion, and answering."""
