"""Networks made of the layers, each with a configuration that is saved beside its weights."""
