"""What a report says in words, by rules."""
