"""Records as serialized `tf.train.Example`s, without TensorFlow.

The message is described here, with the field numbers of TensorFlow's
`example.proto` and `feature.proto`, so that a process which only writes
instructions need not load TensorFlow.
"""

import dataclasses
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "instructrec.example"


def _message_class() -> Any:
  types = descriptor_pb2.FieldDescriptorProto
  file = descriptor_pb2.FileDescriptorProto(
    name="instructrec/example.proto", package=_PACKAGE, syntax="proto3"
  )

  def message(name: str, parent: Any = None) -> Any:
    return (parent.nested_type if parent else file.message_type).add(name=name)

  def field(
    owner: Any, name: str, number: int, kind: int, *, repeated: bool = False
  ) -> Any:
    label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
    return owner.field.add(name=name, number=number, type=kind, label=label)

  def nested(owner: Any, name: str, number: int, of: str, **extra: Any) -> Any:
    found = field(owner, name, number, types.TYPE_MESSAGE, **extra)
    found.type_name = f".{_PACKAGE}.{of}"
    return found

  field(message("BytesList"), "value", 1, types.TYPE_BYTES, repeated=True)
  field(message("Int64List"), "value", 1, types.TYPE_INT64, repeated=True)
  field(message("FloatList"), "value", 1, types.TYPE_FLOAT, repeated=True)
  feature = message("Feature")
  feature.oneof_decl.add(name="kind")
  nested(feature, "bytes_list", 1, "BytesList").oneof_index = 0
  nested(feature, "float_list", 2, "FloatList").oneof_index = 0
  nested(feature, "int64_list", 3, "Int64List").oneof_index = 0
  features = message("Features")
  entry = message("FeatureEntry", features)
  entry.options.map_entry = True
  field(entry, "key", 1, types.TYPE_STRING)
  nested(entry, "value", 2, "Feature")
  nested(features, "feature", 1, "Features.FeatureEntry", repeated=True)
  nested(message("Example"), "features", 1, "Features")
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return message_factory.GetMessageClass(
    pool.FindMessageTypeByName(f"{_PACKAGE}.Example")
  )


_Example = _message_class()


def encode(record: Any, *, omit: frozenset[str] = frozenset()) -> bytes:
  """A dataclass of texts, tuples of texts and numbers as an `Example`.

  Args:
    record: the dataclass; one feature a field.
    omit: fields that are left out.

  Returns:
    The serialized message; the same record gives the same bytes.
  """
  example = _Example()
  feature = example.features.feature
  for field in dataclasses.fields(record):
    if field.name in omit:
      continue
    value = getattr(record, field.name)
    if isinstance(value, str):
      feature[field.name].bytes_list.value.append(value.encode())
    elif isinstance(value, int):
      feature[field.name].int64_list.value.append(value)
    elif isinstance(value, float):
      feature[field.name].float_list.value.append(value)
    else:
      feature[field.name].bytes_list.value.extend(t.encode() for t in value)
  return example.SerializeToString(deterministic=True)
