"""Apps: recipes, the declaration of one, its health, and the way to another version and back."""
