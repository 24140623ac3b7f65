"""A typed client of the REST server, sync and async; it needs no database and no release."""

from aroma.client.asynchronous import AsyncClient
from aroma.client.retries import Retries
from aroma.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Retries"]
