"""What was verified where: claims drawn from the run records, and nothing else."""

from helpers.verification.claims import GROUP_THROUGHPUT, Claim, claims_of, load_claims
from helpers.verification.matrix import Row, matrix

__all__ = ["GROUP_THROUGHPUT", "Claim", "Row", "claims_of", "load_claims", "matrix"]
