"""The JobSet: what is rendered, against the fields that JobSet has."""

import json
from typing import Annotated, Any, Literal

import pydantic
import pytest
import yaml

Name = Annotated[str, pydantic.Field(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Count = Annotated[int, pydantic.Field(ge=0, strict=True)]


class Fields(pydantic.BaseModel):
  """Fields of jobset.x-k8s.io/v1alpha2 (JobSet 0.9) and of pods, by name."""

  model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Security(Fields):
  privileged: bool
  runAsUser: Count


class Limits(Fields):
  tpu: Annotated[Count, pydantic.Field(alias="google.com/tpu", gt=0)]


class Resources(Fields):
  limits: Limits


class Mount(Fields):
  name: Name
  mountPath: str


class Container(Fields):
  name: Name
  image: str
  command: list[str]
  securityContext: Security
  resources: Resources
  volumeMounts: list[Mount] = []


class Claim(Fields):
  claimName: Name


class Volume(Fields):
  name: Name
  persistentVolumeClaim: Claim


class Pod(Fields):
  restartPolicy: Literal["Never", "OnFailure"]
  terminationGracePeriodSeconds: Count
  nodeSelector: dict[str, str]
  containers: list[Container]
  volumes: list[Volume] = []
  serviceAccountName: Name | None = None


class PodTemplate(Fields):
  spec: Pod


class Job(Fields):
  completionMode: Literal["Indexed", "NonIndexed"]
  parallelism: Count
  completions: Count
  backoffLimit: Count
  template: PodTemplate


class JobTemplate(Fields):
  spec: Job


class ReplicatedJob(Fields):
  name: Name
  replicas: Count
  template: JobTemplate


class FailurePolicy(Fields):
  maxRestarts: Count


class Spec(Fields):
  failurePolicy: FailurePolicy
  replicatedJobs: list[ReplicatedJob]


class Metadata(Fields):
  name: Name
  namespace: Name
  annotations: dict[str, str]


class JobSet(Fields):
  apiVersion: Literal["jobset.x-k8s.io/v1alpha2"]
  kind: Literal["JobSet"]
  metadata: Metadata
  spec: Spec


def parsed(text) -> tuple[JobSet, Job, Pod]:
  """A manifest, its job and its pod."""
  document: Any = yaml.safe_load(text)
  manifest = JobSet.model_validate_json(json.dumps(document))
  job = manifest.spec.replicatedJobs[0].template.spec
  return manifest, job, job.template.spec


def rendered(shell, *arguments):
  return parsed(
    shell.run(*shell.whole("gke/jobset.sh"), *arguments, "--dry_run")[0]
  )


def test_the_slice_and_its_hosts(shell):
  manifest, job, pod = rendered(shell, "--max_restarts=7")
  assert manifest.metadata.name == "xl"
  assert manifest.spec.failurePolicy.maxRestarts == 7
  # 4x8 chips, four to a host.
  assert job.parallelism == job.completions == 8
  assert pod.nodeSelector == {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
    "cloud.google.com/gke-tpu-topology": "4x8",
  }
  (container,) = pod.containers
  assert container.resources.limits.tpu == 4
  assert container.image == shell.image
  assert container.command[:2] == ["launch/host.sh", "--device_count=32"]
  # As given, whatever quotes and spaces are in it.
  assert container.command[-3:] == list(shell.options[1:4])
  assert not pod.volumes
  assert pod.serviceAccountName is None


def test_three_dimensions(shell):
  _, job, pod = rendered(shell, "--topology=2x2x4")
  assert job.parallelism == 4
  assert "--device_count=16" in pod.containers[0].command


def test_lines_that_stay_only_with_their_option(shell):
  _, _, pod = rendered(
    shell,
    "--spot",
    "--service_account=trainer",
    "--runner=embedded",
    "--shared_claim=share",
  )
  assert pod.nodeSelector["cloud.google.com/gke-spot"] == "true"
  assert pod.serviceAccountName == "trainer"
  assert pod.volumes[0].persistentVolumeClaim.claimName == "share"
  assert pod.containers[0].volumeMounts[0].mountPath == "/shared"


def test_it_is_applied_as_rendered(shell, tmp_path):
  shell.stand_in("kubectl", f'cat > "{tmp_path}/applied.yaml"')
  shell.run(*shell.whole("gke/jobset.sh"))
  assert shell.calls()[1:] == ["kubectl apply --filename=-"]
  applied = parsed((tmp_path / "applied.yaml").read_text())
  assert applied[0] == rendered(shell)[0]


@pytest.mark.parametrize(
  ("wrong", "message"),
  [
    ("--name=XL", "expected name of the JobSet: lower case"),
    ("--topology=32", "expected shape of the slice"),
    (
      "--topology=1x3",
      "has 3 chips, expected a multiple of --chips_per_host=4",
    ),
    ("--runner=embedded", "--shared_claim=NAME"),
    ("--gin.X=a\nb", "a control character in"),
  ],
)
def test_what_kubernetes_would_refuse_is_refused_here(shell, wrong, message):
  _, errors = shell.run(*shell.whole("gke/jobset.sh"), wrong, status=2)
  assert message in errors
  assert not shell.calls()


@pytest.mark.parametrize(
  ("right", "planted"),
  [
    ("maxRestarts:", "maxRestart:"),
    ("parallelism: 8", 'parallelism: "8"'),
    ("v1alpha2", "v1alpha1"),
    ("google.com/tpu: 4", "google.com/tpus: 4"),
    ("restartPolicy: Never", "restartPolicy: Always"),
  ],
)
def test_planted_mistakes_are_caught(shell, right, planted):
  text = shell.run(*shell.whole("gke/jobset.sh"), "--dry_run")[0]
  assert right in text
  with pytest.raises(pydantic.ValidationError):
    parsed(text.replace(right, planted))
