"""What TensorBoard's files say."""


def scalars(folder):
  """Values by step of each scalar in a TensorBoard folder."""
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  # By default it keeps ten values of a tag, drawn at random.
  events = event_accumulator.EventAccumulator(
    str(folder), size_guidance={event_accumulator.TENSORS: 0}
  ).Reload()
  return {
    tag: {
      event.step: float(tensor_util.make_ndarray(event.tensor_proto))
      for event in events.Tensors(tag)
    }
    for tag in events.PluginTagToContent("scalars")
  }
