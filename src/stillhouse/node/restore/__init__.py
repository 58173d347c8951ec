"""Write a node's files back from the repository."""
