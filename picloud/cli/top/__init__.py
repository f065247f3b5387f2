"""What ``picloud top`` shows: the figures it reads, the frame they are drawn in, the keys that are pressed."""
