"""The lab's message broker: Redis, by ``AROMA_BROKER``. It wakes workers; what is to be done stands in the ledger."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from aroma.errors import UsageError
from aroma.jobs.devices import QUEUES

if TYPE_CHECKING:
    from celery import Celery

BROKER_VARIABLE: Final = "AROMA_BROKER"
TASK: Final = "aroma.work"
_MOST_WAKEUPS: Final = 32
_WAKEUP_SECONDS: Final = 600
_CONNECT_SECONDS: Final = 3
_SCHEMES: Final = ("redis", "rediss")


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What a broker says of itself.

    Attributes:
        address: Without its password.
        reachable: Whether it answered.
        waiting: Wake-ups that no worker has taken, by queue.
    """

    address: str
    reachable: bool
    waiting: dict[str, int]


def broker_address() -> str | None:
    """Return the broker's address, or None where there is none.

    Raises:
        UsageError: It is not the address of a Redis.
    """
    address = os.environ.get(BROKER_VARIABLE, "").strip()
    if not address:
        return None
    if urlsplit(address).scheme not in _SCHEMES:
        raise UsageError(f"{BROKER_VARIABLE} {shown_broker(address)!r} is not understood; give redis://host:6379/0")
    return address


def shown_broker(address: str) -> str:
    """Return an address as messages may show it: without its password."""
    parts = urlsplit(address)
    user, found, place = parts.netloc.rpartition("@")
    hidden = f"{user.partition(':')[0]}:***@{place}" if found else place
    return urlunsplit(parts._replace(netloc=hidden))


def make_app(address: str) -> Celery:
    """Return the Celery application: JSON alone, queues ``cpu`` and ``gpu``, one message at a time.

    A wake-up is acknowledged when it is taken: one that is lost is made up for by the ledger, so the broker's
    visibility timeout never matters.

    Raises:
        UsageError: Celery is not installed.
    """
    try:
        from celery import Celery
        from kombu.entity import Queue
    except ImportError as error:
        raise _not_installed() from error
    app = Celery("aroma", broker=address, backend=address)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_queues=[Queue(name) for name in QUEUES],  # type: ignore[no-untyped-call]
        task_default_queue=QUEUES[0],
        task_create_missing_queues=False,
        task_publish_retry=False,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport(),
        result_backend_transport_options={"retry_policy": {"max_retries": 1, "timeout": 2.0}, **_transport()},
        redis_socket_connect_timeout=_CONNECT_SECONDS,
        result_expires=3600,
    )
    return app


def wake(address: str, run: str, queue: str, shards: int) -> str | None:
    """Wake workers of a queue for a run; return why it could not be done, or None.

    That it could not is no error: workers look into the ledger themselves.
    """
    app = make_app(address)
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    if not broker_state(address).reachable:  # asked first: Celery would try for long
        return _unreachable(address)
    try:
        with app.connection_for_write() as connection:
            for _ in range(min(max(shards, 1), _MOST_WAKEUPS)):
                app.send_task(
                    TASK,
                    args=[run],
                    queue=queue,
                    expires=_WAKEUP_SECONDS,
                    ignore_result=True,
                    connection=connection,
                )
    except (OperationalError, RedisError, OSError):
        return _unreachable(address)
    finally:
        app.close()
    return None


def broker_state(address: str) -> BrokerState:
    """Ask a broker how it stands.

    Raises:
        UsageError: Redis' client is not installed.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry
    except ImportError as error:
        raise _not_installed() from error
    options: dict[str, Any] = {"socket_connect_timeout": _CONNECT_SECONDS, "socket_timeout": _CONNECT_SECONDS}
    try:
        with redis.Redis.from_url(address, retry=Retry(NoBackoff(), 0), **options) as client:
            waiting: dict[str, Any] = {queue: client.llen(queue) for queue in QUEUES}
    except (RedisError, OSError):
        return BrokerState(shown_broker(address), reachable=False, waiting={})
    return BrokerState(
        shown_broker(address), reachable=True, waiting={name: int(found) for name, found in waiting.items()}
    )


def _transport() -> dict[str, Any]:
    return {"socket_connect_timeout": _CONNECT_SECONDS, "socket_keepalive": True}


def _not_installed() -> UsageError:
    return UsageError(
        f"{BROKER_VARIABLE} is set and Celery is not installed; pip install 'aroma-evidence[jobs]', or unset it"
    )


def _unreachable(address: str) -> str:
    return f"the broker at {shown_broker(address)} does not answer; workers look into the ledger by themselves"
