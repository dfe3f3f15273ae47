"""Tests of theory/: one file per topic; see theory/README.md for the statements."""
