"""Reports made from results alone: no model, no data set, no torch."""
