"""One question each: `python -m experiments.<name>` answers it and writes `<out>/<name>.json` and its figure."""
