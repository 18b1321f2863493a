"""`python -m splatface.cli.launcher FILE [name:=value ...]`."""

from splatface.cli.launcher.command import main

raise SystemExit(main())
