"""Facts that doctor and reports ask of a model: tokens, preprocessing, modules, sizes and costs."""
