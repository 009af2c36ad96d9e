"""How the names of files end that hold models or vectors."""

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".bin")
VECTORS = (".npz", ".npy", ".parquet")
