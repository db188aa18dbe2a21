"""What every call passes on its way in and out: who it is, and the line in the audit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from google.protobuf.message import DecodeError

from headwater.doors.milvus.attempts import FailedLogins, address_of
from headwater.doors.milvus.codes import NO_CREDENTIAL, PRIVILEGE_DENIED
from headwater.doors.milvus.guard import (
    Guard,
    Refused,
    busy,
    collections_of,
    credential_of,
    database_of,
    too_many_failed,
    user_of,
)
from headwater.doors.milvus.record import Record
from headwater.doors.milvus.rpc import RPCS, Rpc
from headwater.engine import Database
from headwater.govern import AuditRecord, audit_file
from headwater.govern.audit import AUDIT_LOGGER

__all__ = ["Gate"]

_HASHING_THREADS = 2
_WAITING = 64
_OUTCOMES = {0: "ok", NO_CREDENTIAL.code: "unauthenticated", PRIVILEGE_DENIED.code: "denied"}

_audit = logging.getLogger(AUDIT_LOGGER)
_log = logging.getLogger("headwater.access")


class Gate:
    """Lets calls in and writes them down.

    Args:
        lake: whose users they are.
    """

    def __init__(self, lake: Database) -> None:
        settings = lake.settings.access
        self.guard = Guard(lake.access, settings)
        self._failed = FailedLogins(settings)
        self._file = audit_file(settings)
        # Passwords are dear to check, so a flood of wrong ones must not hold up calls, nor take all cores.
        self._hashing = ThreadPoolExecutor(_HASHING_THREADS, "hashing")
        self._looking = ThreadPoolExecutor(1, "access")
        self._look: Future[None] | None = None
        self._waiting = 0
        self.guard.start()

    async def caller(self, metadata: Mapping[str, str], peer: str) -> str:
        """Who calls; empty where no one needs to say.

        Args:
            metadata: headers of the call.
            peer: who is connected.

        Raises:
            MilvusError: the credential is missing or wrong, or has been wrong too often.
            StoreUnavailable: nothing is known of the users, and the store does not answer.
        """
        if not self.guard.fresh:
            await asyncio.wrap_future(self._looked())
        elif self.guard.due:
            self._looked()
        user = self.guard.known(metadata)
        if user is not None:
            return user
        credential = credential_of(metadata)
        user, address = user_of(credential), address_of(peer)
        self._check_attempts(user, address)
        if self._waiting >= _WAITING:
            raise busy()
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._hashing, self._log_in, metadata, credential, address)
        finally:
            self._waiting -= 1

    def _check_attempts(self, user: str, address: str) -> None:
        wait_s = self._failed.wait_s(user, address)
        if wait_s > 0:
            raise too_many_failed(user, address, wait_s)

    def _log_in(self, metadata: Mapping[str, str], credential: str, address: str) -> str:
        """Who calls, counting what fails; on a thread."""
        user = user_of(credential)
        # Those that waited here meanwhile count too.
        self._check_attempts(user, address)
        try:
            found = self.guard.authenticate(metadata)
        except Refused:
            self._failed.failed(user, address, credential)
            raise
        self._failed.passed(user, address)
        return found

    def known(self, metadata: Mapping[str, str]) -> str | None:
        """Who calls, where that can be said at once; None where it has to be awaited.

        Raises:
            MilvusError: the credential is missing.
        """
        return self.guard.known(metadata) if self.guard.fresh and not self.guard.due else None

    def _looked(self) -> Future[None]:
        """One look at the users for all who want it."""
        look = self._look
        if look is None or look.done():
            look = self._look = self._looking.submit(self.guard.refresh)
            look.add_done_callback(_told)
        return look

    async def check(self, record: Record, data: bytes, metadata: Mapping[str, str]) -> None:
        """Let a call pass that another process answers.

        Args:
            record: of the call; is told who asks, and what about.
            data: its message.
            metadata: its headers.

        Raises:
            MilvusError: it may not pass.
        """
        if not self.guard.on:
            return
        record.user = await self.caller(metadata, record.peer)
        method = RPCS.get(record.name)
        if method is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._looking, self._authorize, record, method, data, metadata)

    def _authorize(self, record: Record, method: Rpc, data: bytes, metadata: Mapping[str, str]) -> None:
        try:
            request = method.request.FromString(data)
        except DecodeError:
            return  # The process that answers says so.
        record.request, record.database = request, database_of(request, metadata)
        self.guard.authorize(record.name, request, record.user, record.database)

    def audit(self, record: Record) -> None:
        """Write down how a call ended."""
        if not _audit.isEnabledFor(logging.INFO):
            return
        _audit.info(
            AuditRecord(
                time=record.began_ns / 1e9 + record.total_s,
                user=record.user,
                peer=record.peer,
                request_id=record.request_id,
                call=record.name,
                database=record.database,
                collection="" if record.request is None else collections_of(record.request),
                outcome=_OUTCOMES.get(record.code, "error"),
                code=record.code,
                latency_ms=record.total_s * 1000,
            )
        )

    def close(self) -> None:
        """Write what waits to be written."""
        self._hashing.shutdown()
        self._looking.shutdown()
        if self._file is not None:
            self._file.close()


def _told(look: Future[None]) -> None:
    error = look.exception()
    if error is not None:
        _log.warning("access control: %s", error)
