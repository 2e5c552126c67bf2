"""What the project claims about speed and memory, measured as ratios inside one run: `make bench`."""
