"""Further questions, a file or a folder each, with the code that only it needs; `python -m experiments` lists them."""
