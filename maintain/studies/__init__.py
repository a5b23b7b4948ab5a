"""What only pages about measurements show: answers, aims, figures over evidence, starts by phase."""
