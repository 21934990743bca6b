"""Benchmarks: each measures the product beside a floor or a rival in the same run."""
