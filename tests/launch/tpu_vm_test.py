"""TPU VM slices: the commands, and what follows a preemption."""

import pytest

AT = "--project=project --zone=us-west4-a"

# A gcloud that keeps the slice and its container in files. Each line of `runs`
# is how a run ends: the status, and the state of the slice after it.
GCLOUD = """
cd "{folder}"
case "$*" in
  *"tpu-vm list"*) cat node 2>/dev/null || true ;;
  *"queued-resources list"*)
    if [[ -s queue ]]; then head -n1 queue; sed -i 1d queue
    elif [[ "$(cat node 2>/dev/null)" == READY ]]; then echo ACTIVE
    elif [[ -f node ]]; then echo SUSPENDED
    fi ;;
  *" create "*) [[ ! -f node ]] || exit 1; echo READY > node ;;
  *" delete "*) rm -f node container ;;
  *"docker ps"*) cat container 2>/dev/null || true ;;
  *"docker run"*) echo abc123 > container ;;
  *"docker logs"*)
    read -r status state < runs; sed -i 1d runs
    [[ "$status" == 255 && "$state" == READY ]] || rm -f container
    echo "$state" > node
    exit "$status" ;;
esac
"""


@pytest.fixture
def cloud(shell, tmp_path):
  """Plays runs that end as given; returns the calls that were made."""

  def play(*runs, options=(), status=0, queue=(), node=None):
    shell.stand_in("gcloud", GCLOUD.format(folder=tmp_path))
    (tmp_path / "runs").write_text("".join(f"{run}\n" for run in runs))
    if queue:
      (tmp_path / "queue").write_text("".join(f"{s}\n" for s in queue))
    if node:
      (tmp_path / "node").write_text(f"{node}\n")
    _, errors = shell.run(
      *shell.whole("tpu_vm.sh"),
      "--back_off=0",
      "--poll=0",
      *options,
      status=status,
    )
    assert not (tmp_path / "runs").read_text(), "runs that did not happen"
    verbs = {
      " create ": "create",
      " delete ": "delete",
      "docker pull": "install",
      "docker run": "start",
      "docker logs": "follow",
    }
    done = [
      verb
      for call in shell.calls()
      for key, verb in verbs.items()
      if key in call
    ]
    return done, errors

  return play


ONE_GO = ["create", "install", "start", "follow"]


def test_dry_run_creates_directly(shell):
  output, _ = shell.run(*shell.whole("tpu_vm.sh"), "--dry_run")
  commands = shell.commands(output)
  assert commands[0] == [
    *"gcloud compute tpus tpu-vm create xl".split(),
    "--version=v2-alpha-tpuv5-lite",
    *AT.split(),
    "--accelerator-type=v5litepod-32",
  ]
  ssh = [*"gcloud compute tpus tpu-vm ssh xl".split(), *AT.split()]
  for command in commands[1:4]:
    assert command[:10] == [*ssh, "--worker=all", "--quiet"]
  assert f"sudo docker pull {shell.image}" in commands[1][-1]
  assert f"{shell.image} launch/host.sh" in commands[2][-1]
  assert commands[-1][:5] == "gcloud compute tpus tpu-vm delete".split()


def test_dry_run_through_the_queue(shell):
  output, _ = shell.run(
    *shell.whole("tpu_vm.sh"),
    "--queued",
    "--spot",
    "--service_account=a@b.c",
    "--dry_run",
  )
  commands = shell.commands(output)
  assert commands[0] == [
    *"gcloud compute tpus queued-resources create xl --node-id=xl".split(),
    "--runtime-version=v2-alpha-tpuv5-lite",
    *AT.split(),
    "--accelerator-type=v5litepod-32",
    "--service-account=a@b.c",
    "--spot",
  ]
  assert commands[-1] == [
    *"gcloud compute tpus queued-resources delete xl".split(),
    *AT.split(),
    "--force",
    "--quiet",
  ]


def test_each_action_alone(shell):
  options = shell.whole("tpu_vm.sh")[2:]
  for action, word in {
    "create": "create",
    "install": "docker pull",
    "run": "docker run",
    "delete": "delete",
  }.items():
    output, _ = shell.run("tpu_vm.sh", action, *options, "--dry_run")
    lines = [line for line in output.splitlines() if line[0] != "#"]
    assert word in lines[0]
  _, errors = shell.run("tpu_vm.sh", "destroy", *options, status=2)
  assert "unknown action 'destroy'; expected train, create" in errors
  _, errors = shell.run("tpu_vm.sh", *options, status=2)
  assert "no action" in errors


def test_the_embedded_runner_needs_a_shared_folder(shell):
  embedded = (*shell.whole("tpu_vm.sh"), "--runner=embedded", "--dry_run")
  _, errors = shell.run(*embedded, status=2)
  assert "--shared=HOST:/EXPORT" in errors
  output, _ = shell.run(*embedded, "--shared=10.0.0.2:/share")
  assert "sudo mount -t nfs 10.0.0.2:/share /shared" in output
  assert "--volume=/shared:/shared" in output


def test_a_run_that_ends_well_is_cleaned_up(cloud):
  assert cloud("0 READY")[0] == [*ONE_GO, "delete"]


def test_a_slice_can_be_kept(cloud):
  assert cloud("0 READY", options=["--keep"])[0] == ONE_GO


@pytest.mark.parametrize("queued", [False, True])
def test_a_preempted_run_starts_again_on_a_new_slice(cloud, queued):
  done, _ = cloud(
    "255 PREEMPTED",
    "134 PREEMPTED",
    "0 READY",
    options=["--queued", "--spot"] if queued else [],
  )
  assert done == [*ONE_GO, "delete"] * 3


def test_tries_are_bounded(cloud):
  done, errors = cloud(
    *["255 PREEMPTED"] * 3, options=["--max_tries=3"], status=2
  )
  # Nothing is left that costs.
  assert done == [*ONE_GO, "delete"] * 3
  assert "gave up after 3 tries (--max_tries)" in errors
  assert "from the newest checkpoint in gs://bucket/xl" in errors


def test_a_mistake_is_not_tried_again_and_the_slice_is_kept(cloud):
  done, errors = cloud("1 READY", status=1)
  assert done == ONE_GO
  assert "the run itself failed. The slice is kept" in errors


def test_a_lost_connection_is_taken_up_again(cloud):
  done, _ = cloud("255 READY", "0 READY")
  assert done == [*ONE_GO, "install", "follow", "delete"]


@pytest.mark.parametrize("status", [75, 143])
def test_a_run_that_hung_or_saved_on_sigterm_starts_again(cloud, status):
  done, _ = cloud(f"{status} READY", "0 READY")
  assert done == [*ONE_GO, "install", "start", "follow", "delete"]


def test_a_slice_that_exists_is_used(cloud):
  assert "create" not in cloud("0 READY", node="READY")[0]


def test_the_queue_is_awaited(cloud, shell):
  cloud(
    "0 READY",
    options=["--queued"],
    queue=("", "WAITING_FOR_RESOURCES", "PROVISIONING"),
  )
  looks = [c for c in shell.calls() if "queued-resources list" in c]
  assert len(looks) == 4


def test_without_access_it_ends_at_once(shell):
  shell.stand_in("gcloud", "echo 'no active account' >&2; exit 1")
  _, errors = shell.run(*shell.whole("tpu_vm.sh"), "--back_off=0", status=1)
  assert "no active account" in errors
  assert len(shell.calls()) <= 4
