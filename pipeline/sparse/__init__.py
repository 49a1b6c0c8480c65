"""N:M sparsity: masks, the order of channels that loses least, and the weights that make up for the loss."""
