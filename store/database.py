"""Engines and transactions. A transaction is one synchronous function, run whole in a thread.

So no transaction can span an await, and SQLite and PostgreSQL share every line above this module
(docs/adr/0006). On SQLite every write begins with BEGIN IMMEDIATE, so writers take turns; on
PostgreSQL two advisory locks order what must be ordered: allocations, and the ids of events.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlmodel import Session

from gamepipe.model.errors import InvalidRequest, StoreUnavailable
from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.policy import Policy
from store.batch import BatchSession
from store.fleet import FleetCache
from store.known import LatencyCache
from store.stamp import stamp_changes
from store.text import clean_statements
from store.transaction import PlacementLockNeeded, Transaction

T = TypeVar("T")

PLACEMENT_LOCK = 0x67616D65_0001
"""Advisory lock that every transaction takes before it reads or writes allocations."""
BUSY_SECONDS = 30
POSTGRES_THREADS = 10
SQLITE_READERS = 4
TRIES = 4
"""Of a transaction that PostgreSQL aborted in favour of another one."""
_REMEDY = (
    "set GAMEPIPE_STORE_URL to sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
)
_BY_INDEX = "SET enable_seqscan = off; SET jit = off"
_PLAN_ANEW = "SET plan_cache_mode = force_custom_plan"
"""A plan that PostgreSQL made while a table was small would read all of it once it is large. What
writes finds its rows by an index at any size, so its plans are kept; what reads is planned anew.
Where a table must be read whole nevertheless, PostgreSQL before 18 takes the plan for so costly
that it would be compiled."""
_RETRIED_STATES = {"40001", "40P01"}


def parse_url(url: str) -> URL:
    """Our URL with the driver filled in; raises `InvalidRequest` for a store we do not know."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidRequest(f"the store's URL cannot be read: {_REMEDY}") from None
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise InvalidRequest(f"store URL {parsed.render_as_string()!r} names no store: {_REMEDY}")


class Database:
    """Runs transactions on one database; closed with `close`."""

    def __init__(
        self, url: str, *, policy: Policy | None = None, order: OrderPolicy | None = None
    ) -> None:
        self.url = parse_url(url)
        self.policy = policy or Policy()
        self.order = order or OrderPolicy()
        self.latencies = LatencyCache()
        self._fleet = FleetCache(self.policy, self.latencies)
        self._asked = FleetCache(self.policy, self.latencies)
        """Behind what is placed on by no more than what is being committed: for who only asks."""
        self._ask_thread = ThreadPoolExecutor(1, thread_name_prefix="store-ask")
        self._placing = threading.Lock()
        """Held with the placement lock, and for the fleet in memory."""
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        if self.is_postgres:
            self._writer = _postgres_engine(self.url, _BY_INDEX)
            self._reader = _postgres_engine(self.url, _PLAN_ANEW)
            self._write_threads = self._read_threads = ThreadPoolExecutor(
                POSTGRES_THREADS, thread_name_prefix="store"
            )
        else:
            self._writer = sqlite_engine(self.url, begin="BEGIN IMMEDIATE")
            self._reader = sqlite_engine(self.url, begin="BEGIN")
            self._write_threads = ThreadPoolExecutor(1, thread_name_prefix="store-write")
            self._read_threads = ThreadPoolExecutor(SQLITE_READERS, thread_name_prefix="store-read")
        self._info = {LatencyCache: self.latencies}
        self.on_commit: Callable[[], None] = lambda: None
        """Called in the event loop behind every committed write: wakes readers of this process."""

    async def write(self, work: Callable[[Transaction], T], *, placing: bool = False) -> T:
        """Commit what `work` did, or nothing. `placing`: hold the placement lock.

        Raises `StoreUnavailable` when the database does not answer.
        """
        result = await self._run(self._write_threads, partial(self._write, work, placing))
        self.on_commit()
        return result

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one read transaction."""
        return await self._run(self._read_threads, partial(self._read, work))

    async def ask(self, work: Callable[[Session, Chooser], T], *, now: datetime) -> T:
        """Run `work` in one read transaction with the fleet as it is there. It may hold there what
        it likes, nothing of it stays; one asks at a time."""

        def asked(session: Session) -> T:
            with self._asked.lent(session, now) as chooser:
                return work(session, chooser)

        return await self._run(self._ask_thread, partial(self._read, asked))

    async def close(self) -> None:
        for pool in {self._write_threads, self._read_threads, self._ask_thread}:
            await asyncio.to_thread(pool.shutdown)
        for engine in {self._writer, self._reader}:
            engine.dispose()

    @staticmethod
    async def _run(threads: ThreadPoolExecutor, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, job)

    def _write(self, work: Callable[[Transaction], T], placing: bool) -> T:
        try:
            return self._write_retried(work, placing)
        except PlacementLockNeeded:
            return self._write_retried(work, placing=True)

    def _write_retried(self, work: Callable[[Transaction], T], placing: bool) -> T:
        for left in reversed(range(TRIES)):
            try:
                return self._write_once(work, placing)
            except DBAPIError as error:
                if not left or getattr(error.orig, "sqlstate", None) not in _RETRIED_STATES:
                    raise self._translated(error) from error
            except TimeoutError as error:
                raise self._translated(error) from error
        raise AssertionError("unreachable")

    def _write_once(self, work: Callable[[Transaction], T], placing: bool) -> T:
        with (
            self._placing if placing else nullcontext(),
            self._session(self._writer) as session,
        ):
            transaction = Transaction(
                session,
                is_postgres=self.is_postgres,
                placing=placing,
                fleet=self._fleet,
                order=self.order,
            )
            stamp_changes(transaction)
            with self._fleet_follows(transaction), session.begin():
                if placing and self.is_postgres:
                    lock = text("SELECT pg_advisory_xact_lock(:key)")
                    session.connection().execute(lock, {"key": PLACEMENT_LOCK})
                result = work(transaction)
                transaction.flush_events()
                return result

    @contextmanager
    def _fleet_follows(self, transaction: Transaction) -> Iterator[None]:
        """The fleet in memory becomes what was committed."""
        try:
            yield
        except BaseException:
            if transaction.chose:
                self._fleet.go_back()
            raise
        told = transaction.chose and not transaction.fleet_changed
        self._fleet.settle(transaction.revision, told=told)

    def _session(self, engine: Engine) -> BatchSession:
        return BatchSession(engine, expire_on_commit=False, info=self._info)

    def _read(self, work: Callable[[Session], T]) -> T:
        try:
            with self._session(self._reader) as session, session.begin():
                return work(session)
        except (DBAPIError, TimeoutError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        """`StoreUnavailable` for a database that is away; everything else is a bug of ours."""
        if isinstance(error, OperationalError | InterfaceError | TimeoutError):
            where = self.url.render_as_string(hide_password=True)
            return StoreUnavailable(
                f"the store {where} does not answer: see that the database runs, has room on its "
                "disk and accepts connections"
            )
        return error


def _postgres_engine(url: URL, planned: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=POSTGRES_THREADS // 2,
        max_overflow=POSTGRES_THREADS // 2 + 1,  # whoever only asks has a thread of its own
        pool_pre_ping=True,
        hide_parameters=True,  # they hold values of envs and secrets
        connect_args={"connect_timeout": 5},
    )
    clean_statements(engine)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.execute(planned)
        connection.commit()

    return engine


def sqlite_engine(url: URL, *, begin: str) -> Engine:
    """An engine whose transactions start with `begin`; the driver's own guesses are off."""
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        hide_parameters=True,  # they hold values of envs and secrets
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    clean_statements(engine)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
