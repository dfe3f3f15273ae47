"""What the benchmarks time: workers in processes of their own, and the same training in PyTorch."""
