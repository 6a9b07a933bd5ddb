"""From padded tokens and logits to the scores of candidates."""
