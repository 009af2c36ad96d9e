"""The generated world itself: plans, places, shapes, colours and words."""
