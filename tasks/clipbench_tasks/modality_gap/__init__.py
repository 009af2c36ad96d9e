"""The modality gap: gap, cones, and what carries the gap."""
