"""What leaves the checkout: bills of materials, and a target packed for a host without network."""
