"""Run records and what is drawn from them: curves, anchors, claims, the matrix."""
