"""`python3 -m reachthru.guest_daemon`, for images without installed entry points."""

import sys

from reachthru.guest_daemon.cli import main

sys.exit(main())
