"""The bundled CLIP: small enough to read, to train on a laptop, and to measure."""
