"""What all experiments share: command line, progress, files and provenance, the chunk runner, tables."""
