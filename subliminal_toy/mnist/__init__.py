"""The MLP/MNIST experiment: data, the network, noise, losses, and the training of teachers and students."""
