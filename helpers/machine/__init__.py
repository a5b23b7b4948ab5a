"""The machine before a server: what it is, the serving environments, the weights."""
