"""How long steps and compilation take, on the leaf shapes of real models."""
