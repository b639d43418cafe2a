"""`python -m lstmcli`, also under torchrun."""

from lstmcli.cli.app import main

if __name__ == "__main__":
    main()
