"""Lakes behind a server: the Python door, spoken over Milvus's protocol.

`headwater.connect("http://host:19530")` returns what is here. Methods have the names, arguments, results and errors of
the embedded ones; what the protocol has no words for is refused by name, because a thing that is done halfway is worse
than one that is not there.
"""

from headwater.doors.remote.collection import RemoteCollection
from headwater.doors.remote.database import RemoteDatabase, open_remote

__all__ = ["RemoteCollection", "RemoteDatabase", "open_remote"]
