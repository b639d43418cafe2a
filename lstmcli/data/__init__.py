"""A file becomes batches: sources, vocabulary, text (prepared and cached ids), batches."""
