"""The command line at the top of a checkout: ``python cli.py COMMAND``; installed it is ``icvos``."""

from icvos.cli import main

if __name__ == "__main__":
    main()
