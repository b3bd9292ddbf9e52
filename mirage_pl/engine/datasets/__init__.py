"""What the data verb says of any data set."""
