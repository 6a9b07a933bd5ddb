"""The T5 encoder-decoder: its sizes, its layers and what decoding carries."""
