"""Work in a part of the space: sketches, low rank, eigenbases and whitening."""
