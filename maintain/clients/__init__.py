"""Programs that people point at a server: their configuration, what vLLM does with their requests, tables made by asking."""
