"""`python -m lightvid` is the `lightvid` command."""

from lightvid.cli import main

main()
