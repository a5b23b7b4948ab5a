"""What only a checkout needs: a new target, other releases, installs, locks, schemas and the pages that are written from data."""
