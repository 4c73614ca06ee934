"""From records to tables: fronts, indicators, statistics, verdicts."""
