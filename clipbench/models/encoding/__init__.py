"""From items to stored vectors: loading in workers, batches on devices, the store, and the embedder that tasks ask."""
