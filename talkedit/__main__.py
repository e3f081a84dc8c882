"""``python -m talkedit``."""

from talkedit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
