"""SeqIO sources and converters; the only TensorFlow zone."""

from instructrec.pipelines import notices

# TensorFlow only feeds data here: its start-up notices would drown ours, and
# the accelerators are JAX's.
with notices.kept_back():
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")
