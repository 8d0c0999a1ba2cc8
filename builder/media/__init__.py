"""What is on a disc: facts only, no opinions."""
