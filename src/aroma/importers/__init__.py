"""One module a provider: from files as published to typed tables."""
