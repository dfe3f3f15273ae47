"""Subliminal learning on a laptop: data, models, losses, the training engine, the protocol and statistics."""
