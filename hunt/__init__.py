"""The hunt for requests that end a server: drawn by Hypothesis and Schemathesis, sent to a running server, each find kept."""
