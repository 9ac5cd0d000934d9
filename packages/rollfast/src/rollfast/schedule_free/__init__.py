"""Schedule-Free: an average of the iterates in place of a decaying learning rate."""
