"""A run packed into one file for others, and the page that says who verified what."""
