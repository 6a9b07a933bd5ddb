"""SeqIO sources and converters; the only TensorFlow zone."""
