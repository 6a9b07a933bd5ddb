"""Beam's direct runner writes the bytes of the local path."""

import pytest

from instructrec.instructions import units

pytestmark = pytest.mark.tf
pytest.importorskip(
  "apache_beam", reason="needs Apache Beam: pip install instructrec[beam]"
)


@pytest.mark.parametrize("protocol", ["stated", "strict", "paper"])
def test_the_folder_is_the_local_one_byte_by_byte(
  prepared_dir, read_folder, tmp_path, small_shards, protocol
):
  from instructrec.pipelines import beam_generate, generate

  spec = units.Spec(prepared_dir=str(prepared_dir), protocol=protocol)
  produced = {
    "local": generate.produce_locally(1),
    "beam": beam_generate.produce(["--runner=DirectRunner"]),
  }
  for name, produce in produced.items():
    generate.write(spec, tmp_path / name, produce=produce, vocab_size=400)
  local, beam = (read_folder(tmp_path / name) for name in produced)
  assert any("-00002-of-" in name for name in local)
  assert beam == local


def test_a_failing_unit_stops_the_run_and_leaves_no_output(
  prepared_dir, tmp_path, monkeypatch, small_shards
):
  from instructrec.pipelines import beam_generate, generate

  work = units.work

  def failing(generator, unit):
    if unit.split == "test":
      raise RuntimeError("no disk left")
    return work(generator, unit)

  monkeypatch.setattr(units, "work", failing)
  with pytest.raises(Exception, match="no disk left"):
    generate.write(
      units.Spec(prepared_dir=str(prepared_dir)),
      tmp_path / "out",
      produce=beam_generate.produce(["--runner=DirectRunner"]),
    )
  assert not (tmp_path / "out").exists()
