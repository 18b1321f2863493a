"""`python -m splatface.launch.launcher FILE [name:=value ...]`."""

from splatface.launch.launcher.command import main

raise SystemExit(main())
