"""Run the command line as ``python -m rackmoe``."""

from rackmoe.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
