"""The bundled CLIP, its losses and loop, and the monitor and history of any training."""
