"""The T5 network, candidate scoring, decoding and losses."""
