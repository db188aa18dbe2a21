"""The one way to write to the log.

**Order.** A shard's log is one sequence of entries, each stored by put-if-absent of the next number. Who loses the race
for a number reads the winner's entry, applies it, and tries the next, so every entry was written by somebody who knew
all entries before it. That makes reads that look for new entries first (strong reads) linearizable.

**Epochs.** Each entry carries its writer's epoch. A writer takes a shard over by writing with a higher epoch than the
log has; the writer before finds its next number taken by it, and is fenced. By default it takes the shard back; with
`takeover=False` it raises `Fenced`, as the only writer of a shard in a cluster should.

**Group commit.** Callers queue; whoever gets the shard's lock writes one entry for all that wait. No thread is needed,
and the slower the store, the larger the groups.

**Leases.** Entries are deleted only when they have been in segments for `READER_GRACE_S`. A process that has looked at
the manifest more recently than half of that cannot mistake a deleted entry for the end of the log, nor write where
nobody reads; one that has not, looks again before it answers.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.errors import Fenced, HeadwaterError, Internal, StoreUnavailable, Timeout
from headwater.lake.lake import LEASE_S, Lake
from headwater.lake.log.cursor import Cursor
from headwater.lake.log.entry import LOGICAL_BITS, Entry, Record, encode_entry, entry_key
from headwater.lake.log.growing import Pinned, SegmentKeys
from headwater.lake.log.live import Live, LogReader
from headwater.lake.log.splitting import adopt_heirs
from headwater.lake.log.writes import (
    Close,
    Deletion,
    NewRows,
    NewSegments,
    Write,
    numbered,
    piece_of,
    size_bytes,
)
from headwater.lake.shards import Shard, descends, owners
from headwater.store import put_if_absent

__all__ = ["CollectionLog", "Receipt", "ShardClosed"]


@dataclass(frozen=True)
class Receipt:
    """What a write came to; it is durable.

    Attributes:
        timestamp: of the newest entry it is in; a reader that has reached it sees the write.
        made_keys: keys given to the rows, where the log gives them.
        write: what was written, once known.
    """

    timestamp: int
    made_keys: pa.Array | None = None
    write: Write | None = None


Prepare = Callable[[Live], Write | None]
"""Makes a write from what is there at the very moment before it; None for nothing to do."""


@dataclass
class _Ticket:
    """One caller's write, waiting for its group."""

    write: Write | None
    prepare: Callable[[Live], Write | None] | None = None
    receipt: Receipt | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.receipt is not None or self.error is not None


@dataclass
class _Lane:
    """The callers that write to one shard."""

    leader: threading.Lock = field(default_factory=threading.Lock)
    queue: deque[_Ticket] = field(default_factory=deque)
    epoch: int | None = None


class ShardClosed(Exception):
    """The shard was split; its keys belong to others now. Whoever writes routes again."""


class CollectionLog(LogReader):
    """The logs of one collection, read and written by one process. Safe between threads.

    Attributes:
        writer: the name of this process in entries.
        seal_lock: held by who seals.
        own_writes: groups that this process has written.

    Args:
        lake: the collection.
        keys: finds rows of segments by key.
        takeover: whether to take a shard back from a writer that took it over.
        deadline_s: how long a write may take.
        entry_bytes: a group is closed when it is larger than this.
        parallel: whether to read a backlog with several requests at once.
    """

    def __init__(
        self,
        lake: Lake,
        keys: SegmentKeys,
        *,
        takeover: bool = True,
        deadline_s: float = 60.0,
        entry_bytes: int = 32 << 20,
        parallel: bool = True,
    ) -> None:
        super().__init__(lake, keys, parallel=parallel)
        self.writer = uuid.uuid4().hex
        self.seal_lock = threading.Lock()
        self.own_writes = 0
        self._takeover = takeover
        self._deadline_s = deadline_s
        self._entry_bytes = entry_bytes
        self._lanes: dict[int, _Lane] = {}
        self._next_shard = 0

    @property
    def wrote_last(self) -> bool:
        """Whether the newest entry of some shard is of this process, as far as it knows."""
        return any(cursor.writer == self.writer for cursor in list(self._cursors.values()))

    def write(self, write: NewRows | Deletion | NewSegments, *, by_row_id: bool = False) -> list[Receipt]:
        """Write; durable and visible to every strong read when this returns.

        Segments of a shard that was split meanwhile end in `ShardClosed`, and nothing was written.

        Args:
            write: rows or keys; those of several shards are several entries.
            by_row_id: whether the keys to delete are row ids.

        Returns:
            A receipt for each shard written to.

        Raises:
            Unavailable: the store did not answer in time; the outcome may be unknown.
            Fenced: another writer holds the shard, and `takeover` is off.
        """
        deadline = self._monotonic() + self._deadline_s
        if isinstance(write, NewSegments) and write.shard is not None:
            return [self._submit(write.shard, _Ticket(write), deadline)]
        receipts, left = [], [write]
        while left:
            piece = left.pop()
            for number, part in self._routed(piece, by_row_id):
                try:
                    receipts.append(self._submit(number, _Ticket(part), deadline))
                except ShardClosed:
                    left.append(part)
        return receipts

    def write_prepared(self, prepare: Prepare, *, by_row_id: bool = False) -> list[Receipt]:
        """Write what a function makes of the collection as it is at that very moment, shard by shard.

        Args:
            prepare: called once or more, without any write between its call and the write.
            by_row_id: whether the keys it deletes are row ids.
        """
        deadline = self._monotonic() + self._deadline_s
        receipts: list[Receipt] = []
        done: set[int] = set()
        while True:
            live = self.pin()
            open_shards = [c.shard.number for c in live.cursors.values() if not c.closed]
            # What was written to a shard is not written once more to those that took over since.
            left = [
                number
                for number in open_shards
                if number not in done and not any(descends(number, one) for one in done)
            ]
            if not left:
                return receipts

            def of_shard(now: Live, number: int = left[0]) -> Write | None:
                made = prepare(now)
                return None if made is None else self._of_shard(made, number, by_row_id)

            try:
                receipts.append(self._submit(left[0], _Ticket(None, of_shard), deadline))
                done.add(left[0])
            except ShardClosed:
                continue

    def close_shard(self, number: int, into: Callable[[Cursor], tuple[Shard, ...]]) -> tuple[Shard, ...]:
        """Close a shard's log; its keys go to other shards from then on. Returns those shards."""

        def close(live: Live) -> Write | None:
            return Close(into(live.cursors[number]))

        try:
            self._submit(number, _Ticket(None, close), self._monotonic() + self._deadline_s)
        except ShardClosed:
            self.pin()
        cursor = self.pin().cursors.get(number)
        return () if cursor is None else cursor.closed

    def routed(self, rows: NewRows) -> list[tuple[int, NewRows]]:
        """Rows by the number of the open shard that has their keys."""
        return [(number, part) for number, part in self._routed(rows, False) if isinstance(part, NewRows)]

    def _routed(
        self, write: NewRows | Deletion | NewSegments, by_row_id: bool
    ) -> list[tuple[int, NewRows | Deletion | NewSegments]]:
        shards = self._open_shards()
        keys = _keys_of(write)
        if len(shards) == 1 or keys is None:
            self._next_shard += 1
            return [(shards[self._next_shard % len(shards)].number, write)]
        assert not isinstance(write, NewSegments)
        places = owners(shards, keys, row_ids=by_row_id)
        return [
            (shards[place].number, piece_of(write, places == place)) for place in np.unique(places).tolist()
        ]

    def _of_shard(self, write: Write, number: int, by_row_id: bool) -> Write | None:
        shards = self._open_shards()
        keys = None if isinstance(write, Close) else _keys_of(write)
        if len(shards) == 1 or keys is None or isinstance(write, Close | NewSegments):
            return write
        mine = np.array([shard.number for shard in shards])[owners(shards, keys, row_ids=by_row_id)] == number
        return piece_of(write, mine) if mine.any() else None

    def _open_shards(self) -> list[Shard]:
        with self._lock:
            if self._state is None:
                self._catch_up()
            for _ in range(100):
                shards = [cursor.shard for cursor in self._cursors.values() if not cursor.closed]
                if shards and not self._heirless():
                    return shards
                self._adopt()
        raise Internal("no shard of the collection is open")

    def _heirless(self) -> bool:
        """Whether a log is closed and the shards that took over are not in the manifest yet."""
        return any(
            heir.number not in self._cursors and not self._was_split(heir)
            for cursor in self._cursors.values()
            for heir in cursor.closed
        )

    def _was_split(self, heir: Shard) -> bool:
        """Whether an heir came and went: split itself, and sealed."""
        assert self._state is not None
        return any(descends(shard.number, heir.number) for shard in self._state.manifest.all_shards)

    def _adopt(self) -> None:
        """Make the shards that took over part of the version, for a splitter that may have died."""
        self._go_to(adopt_heirs(self.lake, self._cursors.values()))
        for number in sorted(self._cursors):
            self._read_on(number)

    def _submit(self, number: int, ticket: _Ticket, deadline: float) -> Receipt:
        with self._lock:
            lane = self._lanes.setdefault(number, _Lane())
        lane.queue.append(ticket)
        if not lane.leader.acquire(timeout=max(0.0, deadline - self._monotonic())):
            return self._withdrawn(lane, ticket)
        try:
            while not ticket.done:
                self._commit_group(number, lane, deadline)
        finally:
            lane.leader.release()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.receipt is not None
        return ticket.receipt

    def _withdrawn(self, lane: _Lane, ticket: _Ticket) -> Receipt:
        try:
            lane.queue.remove(ticket)
        except ValueError:
            # Its group is being written now: the leader tells.
            with lane.leader:
                if ticket.receipt is not None:
                    return ticket.receipt
                if ticket.error is not None:
                    raise ticket.error from None
        raise Timeout(
            f"{self.lake.root}: the write waited {self._deadline_s:g} s for its turn; nothing was written",
            hint="the store is slow, or too many writers wait; try again",
        )

    def _commit_group(self, number: int, lane: _Lane, deadline: float) -> None:
        group = [lane.queue.popleft()]
        size = 0 if group[0].write is None else size_bytes(group[0].write)
        # What is made from the state of the moment needs a moment of its own.
        while (
            group[0].prepare is None
            and lane.queue
            and lane.queue[0].prepare is None
            and size < self._entry_bytes
        ):
            group.append(lane.queue.popleft())
            size += size_bytes(group[-1].write) if group[-1].write is not None else 0
        error: Exception | None = None
        try:
            self._commit(number, lane, group, deadline)
        except (HeadwaterError, ShardClosed) as failure:
            error = failure
        finally:
            for ticket in group:
                if not ticket.done:
                    ticket.error = error or Internal("the write that this one was grouped with failed")

    def _commit(self, number: int, lane: _Lane, group: Sequence[_Ticket], deadline: float) -> None:
        commit_id = uuid.uuid4().hex
        while True:
            live = self._known(number, group)
            cursor = live.cursors.get(number)
            if cursor is None or cursor.closed:
                raise ShardClosed(f"shard {number} was split")
            epoch = self._epoch(lane, cursor)
            entry, receipts = _entry_of(
                live, cursor, group, epoch, self.writer, commit_id, self.lake.now_ms()
            )
            if not entry.records:
                _settle(group, receipts)
                return
            left_s = deadline - self._monotonic()
            if left_s <= 0:
                raise Timeout(
                    f"{self.lake.root}: no turn in the log within {self._deadline_s:g} s; nothing was written"
                )
            won = put_if_absent(
                self.lake.store,
                entry_key(self.lake.root, cursor.shard.log, entry.sequence),
                encode_entry(entry),
                deadline_s=left_s,
                sleep=self.lake.clock.sleep,
            )
            if won:
                self._check_live(number, entry)
                lane.epoch = epoch
                with self._lock:
                    self._apply(number, entry)
                    self.own_writes += 1
                _settle(group, receipts)
                return
            with self._lock:
                self._catch_up()

    def _known(self, number: int, group: Sequence[_Ticket]) -> Live:
        """What the entry is made against. A plain insert only needs the end of the log as this process knows it."""
        with self._lock:
            if self._out_of_touch() or group[0].prepare is not None or self._is_ahead(number):
                self._catch_up()
            if group[0].prepare is None:
                state = self._state
                assert state is not None
                return Live(state.manifest, Pinned(), dict(self._cursors))
            return self._pin()

    def _is_ahead(self, number: int) -> bool:
        """Whether a shard continues one whose log is not read to its end, as when a store failed in between.

        What is left there comes before any entry of the shard: a delete, worked out too early, would miss those rows.
        """
        return any(not one.closed and descends(number, one.shard.number) for one in self._cursors.values())

    def _epoch(self, lane: _Lane, cursor: Cursor) -> int:
        if cursor.writer == self.writer:
            return cursor.epoch
        if lane.epoch is not None and cursor.epoch == lane.epoch and not cursor.writer:
            # Our own epoch, of entries that are in segments by now.
            return lane.epoch
        if lane.epoch is not None and not self._takeover:
            raise Fenced(
                f"shard {cursor.shard.number} of {self.lake.root!r} was taken over by a writer of epoch {cursor.epoch},"
                f" ours is {lane.epoch}",
                hint="stop writing here; open the collection again to take the shard back",
            )
        return cursor.epoch + 1

    def _check_live(self, number: int, entry: Entry) -> None:
        """Make sure that an entry just stored is where readers look.

        Raises:
            StoreUnavailable: the store took so long that the log was sealed past the entry meanwhile, with it or
                without it.
            CollectionNotFound: the collection was dropped.
        """
        started, state = self._monotonic(), self._state
        if state is not None and not self._out_of_touch():
            self.lake.check_there(state.manifest)
            return
        shard = next((one for one in self.lake.latest().all_shards if one.number == number), None)
        known = self._cursors.get(number)
        if shard is None or known is None or known.shard.log != shard.log or shard.sealed >= entry.sequence:
            self._leased_s = float("-inf")
            raise StoreUnavailable(
                f"{self.lake.root}: a write took longer than {LEASE_S:g} s, and the log was sealed meanwhile: "
                "outcome unknown",
                hint="look for the rows before writing them again, or use upsert",
            )
        self._leased_s = started


def _keys_of(write: NewRows | Deletion | NewSegments) -> pa.Array | None:
    """The keys that decide where a write goes; None where it may go to any shard."""
    return None if isinstance(write, NewSegments) else write.keys


def _entry_of(
    live: Live,
    cursor: Cursor,
    group: Sequence[_Ticket],
    epoch: int,
    writer: str,
    commit_id: str,
    now_ms: int,
) -> tuple[Entry, list[Receipt]]:
    timestamp = max(now_ms << LOGICAL_BITS, cursor.timestamp + 1)
    records: list[Record] = []
    receipts = []
    next_row_id = cursor.next_row_id
    for ticket in group:
        write = ticket.write if ticket.prepare is None else ticket.prepare(live)
        made_keys = None
        if write is not None:
            more, next_row_id, made_keys = numbered(write, next_row_id)
            records += more
        receipts.append(Receipt(timestamp, made_keys, write))
    entry = Entry(
        sequence=cursor.sequence + 1,
        epoch=epoch,
        writer=writer,
        commit_id=commit_id,
        timestamp=timestamp,
        records=tuple(records),
    )
    return entry, receipts


def _settle(group: Sequence[_Ticket], receipts: Sequence[Receipt]) -> None:
    for ticket, receipt in zip(group, receipts, strict=True):
        ticket.receipt = receipt
