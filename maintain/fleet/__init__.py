"""More than one server at a time: replicas that stay, restarted one by one under load."""
