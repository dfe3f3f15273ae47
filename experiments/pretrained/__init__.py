"""What the experiment on a real language model is made of: arms, stages that are kept, a seed's way through them."""
