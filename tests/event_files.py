"""What TensorBoard's files say."""


def scalars(folder):
  """Values by step of each scalar in a TensorBoard folder."""
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  events = event_accumulator.EventAccumulator(str(folder)).Reload()
  return {
    tag: {
      event.step: float(tensor_util.make_ndarray(event.tensor_proto))
      for event in events.Tensors(tag)
    }
    for tag in events.PluginTagToContent("scalars")
  }
