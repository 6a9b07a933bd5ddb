"""SeqIO sources and converters; the only TensorFlow zone."""

import os

# TensorFlow only feeds data here: its start-up notices would drown ours, and
# the accelerators are JAX's.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

tf.config.set_visible_devices([], "GPU")
