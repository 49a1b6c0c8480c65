"""What channel pruning decides with: importance, cost and time, and how much each layer gives up."""
