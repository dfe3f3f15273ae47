"""What the experiments on MNIST share."""
