"""`python -m headwater`: the command line."""

from __future__ import annotations

from headwater.doors.cli import main

if __name__ == "__main__":
    main()
