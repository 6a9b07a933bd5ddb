"""How the server is deployed: image, unit, manifests, dashboard."""

import configparser
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
SERVE = ROOT / "launch" / "serve"
UNIT = SERVE / "instructrec.service"


def unit():
  """The settings of the unit's service; the last of several counts."""
  parser = configparser.ConfigParser(strict=False, interpolation=None)
  parser.optionxform = str
  parser.read(UNIT)
  return parser["Service"]


def manifests():
  found = yaml.safe_load_all((SERVE / "kubernetes.yaml").read_text())
  return {each["kind"]: each for each in found}


def container():
  (found,) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
  return found


def options(words):
  """Options of a command line, by name."""
  return dict(
    word.removeprefix("--").split("=", 1)
    for word in words
    if word.startswith("--")
  )


def metrics_of(expression):
  """Names of the metrics in a PromQL expression."""
  return set(re.findall(r"\b(?:rec|process)_\w+", expression))


def expressions():
  board = json.loads((SERVE / "grafana.json").read_text())
  found = [
    target["expr"] for panel in board["panels"] for target in panel["targets"]
  ]
  return [*found, *(each.get("query", "") for each in variables(board))]


def variables(board):
  return [e for e in board["templating"]["list"] if e["type"] == "query"]


@pytest.fixture(scope="module")
def app():
  pytest.importorskip("fastapi", reason="needs instructrec[serve]")
  from instructrec.serving.server import app as app_lib
  from instructrec.settings import serving

  return app_lib.create(serving.ServingSettings(model_dir=ROOT))


@pytest.fixture(scope="module")
def routes(app):
  return set(app.openapi()["paths"])


def command_lines():
  """The options that image, unit and manifest give to `instructrec serve`."""
  docker = (SERVE / "Dockerfile").read_text()
  entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", docker, re.M)[1])
  given = json.loads(re.search(r"^CMD (.*)$", docker, re.M)[1])
  assert entry[:2] == ["instructrec", "serve"]
  started = unit()["ExecStart"].split()
  assert started[:2] == ["/opt/instructrec/bin/instructrec", "serve"]
  return {
    "image": options(entry) | options(given),
    "unit": options(started),
    "pod": options(entry) | options(container()["args"]),
  }


@pytest.mark.parametrize("where", ["image", "unit", "pod"])
def test_the_options_are_those_of_serve(where):
  import dataclasses

  from instructrec.settings import serving

  fields = {field.name for field in dataclasses.fields(serving.ServingSettings)}
  assert set(command_lines()[where]) <= fields


def test_the_unit_listens_at_loopback_and_can_do_little():
  service = unit()
  assert "HOST=127.0.0.1" in UNIT.read_text()
  for name, expected in {
    "DynamicUser": "yes",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "CapabilityBoundingSet": "",
  }.items():
    assert service[name] == expected
  # Keys come from a file and not from the unit, which everybody reads.
  assert service["EnvironmentFile"].endswith("serve.env")
  assert "API_KEYS=" not in UNIT.read_text()


def test_nothing_that_is_accepted_is_cut_off():
  """Both wait longer than a request may take."""
  from instructrec.settings import serving

  default = serving.ServingSettings(model_dir=ROOT)
  assert int(unit()["TimeoutStopSec"]) > (
    default.drain_seconds + default.deadline_seconds + 5
  )
  pod = manifests()["Deployment"]["spec"]["template"]["spec"]
  _, before = container()["lifecycle"]["preStop"]["exec"]["command"]
  deadline = int(command_lines()["pod"]["deadline_seconds"])
  drain = int(command_lines()["pod"].get("drain_seconds", 0))
  needed = int(before) + drain + deadline + 5
  assert pod["terminationGracePeriodSeconds"] > needed
  # Until then no proxy may send: what is not ready is taken out.
  probe = container()["readinessProbe"]
  assert int(before) > probe["periodSeconds"] * probe["failureThreshold"]


@pytest.mark.skipif(
  not shutil.which("systemd-analyze"), reason="no systemd-analyze here"
)
def test_systemd_finds_nothing(tmp_path):
  def verify(text):
    path = tmp_path / UNIT.name
    path.write_text(
      text.replace("/opt/instructrec/bin/instructrec", sys.executable)
    )
    found = subprocess.run(
      ["systemd-analyze", "verify", path], capture_output=True, text=True
    )
    return found.stdout + found.stderr

  text = UNIT.read_text()
  assert UNIT.name not in verify(text)
  planted = verify(text.replace("NoNewPrivileges=yes", "NoNewPrivilege=yes"))
  assert "NoNewPrivilege" in planted


def test_probes_ask_routes_that_there_are(routes):
  asked = {
    name: container()[name]["httpGet"]["path"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe")
  }
  assert asked == {
    "startupProbe": "/readyz",
    "livenessProbe": "/healthz",
    "readinessProbe": "/readyz",
  }
  docker = (SERVE / "Dockerfile").read_text()
  (health,) = re.findall(r"http://127\.0\.0\.1:8000(/\w+)", docker)
  scraped = manifests()["Deployment"]["spec"]["template"]["metadata"][
    "annotations"
  ]["prometheus.io/path"]
  assert {*asked.values(), health, scraped} <= routes


def test_ports_and_labels_meet():
  found = manifests()
  spec = found["Deployment"]["spec"]
  labels = spec["template"]["metadata"]["labels"]
  assert spec["selector"]["matchLabels"] == labels
  assert found["Service"]["spec"]["selector"] == labels
  budget = found["PodDisruptionBudget"]["spec"]
  assert budget["selector"]["matchLabels"] == labels
  assert budget["minAvailable"] < spec["replicas"]
  (port,) = container()["ports"]
  assert found["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
  assert port["containerPort"] == int(command_lines()["pod"]["port"])


def test_the_pod_writes_nothing_but_its_cache():
  security = container()["securityContext"]
  assert security["readOnlyRootFilesystem"] is True
  assert security["allowPrivilegeEscalation"] is False
  assert security["capabilities"] == {"drop": ["ALL"]}
  pod = manifests()["Deployment"]["spec"]["template"]["spec"]
  assert pod["securityContext"]["runAsNonRoot"] is True
  docker = (SERVE / "Dockerfile").read_text()
  assert f"USER {pod['securityContext']['runAsUser']}\n" in docker
  writable = {
    mount["mountPath"]
    for mount in container()["volumeMounts"]
    if not mount.get("readOnly")
  }
  assert writable == {"/tmp", "/var/cache/instructrec"}
  model = command_lines()["pod"]["model_dir"]
  assert any(
    model.startswith(mount["mountPath"])
    for mount in container()["volumeMounts"]
    if mount.get("readOnly")
  )
  assert container()["resources"]["limits"]["memory"]


def test_the_dashboard_shows_metrics_that_the_server_has(app):
  known = {
    sample.name
    for family in app.state.lifecycle.metrics.registry.collect()
    for sample in family.samples
  }
  # A metric with labels has no sample before it is counted.
  for family in app.state.lifecycle.metrics.registry.collect():
    ends = {
      "counter": ("_total",),
      "histogram": ("_bucket", "_sum", "_count"),
      "gauge": ("",),
    }
    known |= {family.name + end for end in ends.get(family.type, ())}
  shown = set().union(*map(metrics_of, expressions()))
  assert shown <= known
  # And every one of the server's own is shown.
  own = {
    family.name
    for family in app.state.lifecycle.metrics.registry.collect()
    if family.name.startswith("rec_")
  }
  assert {name for name in own if not any(name in s for s in shown)} == set()


def test_the_dashboard_is_whole():
  board = json.loads((SERVE / "grafana.json").read_text())
  panels = board["panels"]
  assert len({panel["id"] for panel in panels}) == len(panels)
  cells = [
    (x, y)
    for panel in panels
    for place in [panel["gridPos"]]
    for x in range(place["x"], place["x"] + place["w"])
    for y in range(place["y"], place["y"] + place["h"])
  ]
  assert len(cells) == len(set(cells))
  assert max(x for x, _ in cells) < 24
  for expression in expressions():
    assert expression.count("(") == expression.count(")")
    for opened in re.findall(r"rate\((.*?)\[", expression):
      assert "$instance" in opened
