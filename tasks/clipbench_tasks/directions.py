"""The directions of retrieval."""

DIRECTIONS = {
    "image_retrieval": ("Text-to-image", "captions"),
    "text_retrieval": ("Image-to-text", "images"),
    "image_image": ("Image-to-image", "images"),
    "text_text": ("Text-to-text", "captions"),
}
"""A direction as papers name it, and its queries."""
