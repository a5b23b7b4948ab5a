"""Training inside a serving stack: the trainable twin, packed conversations, the script."""
