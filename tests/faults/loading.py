"""A process that writes as fast as it can, with all of the upkeep running, until it is killed."""

from __future__ import annotations

import os
import random
import struct
import threading
from pathlib import Path
from typing import Any

import headwater as hw

HOT_KEYS = 20
ACKNOWLEDGED = struct.Struct("<Bqq")
INSERT, UPSERT, DELETE = range(3)


def settings() -> hw.Settings:
    """Everything that happens at scale, at once."""
    return hw.Settings(
        # An insert of twenty rows goes straight into a segment.
        write=hw.settings.WriteSettings(seal_entries=15, bulk_bytes=400),
        maintenance=hw.settings.MaintenanceSettings(
            interval_s=0.02, merge_segments=3, index_rows=50, deleted_share=0.1
        ),
    )


def row(key: int, value: int) -> dict[str, Any]:
    return {"id": key, "value": value, "v": [float(key % 97), float(value % 89), 1.0, 0.0]}


def load(url: str, options: dict[str, Any], first: int, told: Path) -> None:
    """Insert keys from `first` on, upsert the hot keys, delete some of the new ones; each acknowledgement is told.

    Args:
        url: the lake.
        options: of its store.
        first: a number that no process before has used as a key or a value.
        told: a file for the acknowledgements, which survives us.
    """
    acknowledge = os.open(told, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    collection = hw.connect(url, options, settings=settings()).collection("t")
    lock, stop = threading.Lock(), threading.Event()

    def tell(kind: int, key: int, value: int) -> None:
        os.write(acknowledge, ACKNOWLEDGED.pack(kind, key, value))

    def insert() -> None:
        dice = random.Random(first)
        key = first
        while not stop.is_set():
            keys = range(key, key + dice.choice((1, 3, 20)))
            collection.insert([row(one, one) for one in keys])
            with lock:
                for one in keys:
                    tell(INSERT, one, one)
            key = keys.stop
            if dice.random() < 0.2:
                gone = dice.choice(keys)
                collection.delete([gone])
                tell(DELETE, gone, 0)

    def upsert() -> None:
        dice = random.Random(first + 1)
        value = first
        while not stop.is_set():
            key, value = -1 - dice.randrange(HOT_KEYS), value + 1
            collection.upsert([row(key, value)])
            tell(UPSERT, key, value)

    threads = [threading.Thread(target=work, daemon=True) for work in (insert, upsert)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
