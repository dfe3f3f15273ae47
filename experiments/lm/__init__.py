"""What the experiments on the language model share: arms and contrasts, runs in chunks."""
