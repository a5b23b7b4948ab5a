"""The browser tool without its server: pages, displays, backends, and the safe way to fetch from the web."""
