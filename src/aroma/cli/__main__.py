"""``python -m aroma.cli`` is ``aroma``."""

from aroma.cli.app import main

if __name__ == "__main__":
    main()
