"""A serving stack carried to a machine without a network: what makes it small enough to send."""
