"""What adapters build with a library at hand: the towers of its models. Imported only when a model is loaded."""
