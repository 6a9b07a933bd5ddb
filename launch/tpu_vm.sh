#!/usr/bin/env bash
# TPU VM pod slices on Google Cloud; see --help.
# shellcheck source=launch/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/options.sh"

about "launch/tpu_vm.sh ACTION: trains on a slice of TPU VMs.

  launch/tpu_vm.sh train --name=xl --project=my-project --zone=us-west4-a \\
    --accelerator_type=v5litepod-32 --runtime_version=v2-alpha-tpuv5-lite \\
    --device_count=32 --image=us-docker.pkg.dev/my-project/ml/instructrec:tpu \\
    --spot --queued --runner=t5x --gin_file=gin/instructrec_xl.gin \\
    --tfds_data_dir=gs://my-bucket/instructions --model_dir=gs://my-bucket/xl

Actions, each safe to repeat:
  train    create, install, run, delete; preempted, it starts again from the
           newest checkpoint, until the run ends or --max_tries is reached
  create   the slice, directly or through a queue (--queued)
  install  the image, on all workers
  run      the container on all workers; one that runs already is followed
  delete   the slice"
host_options
checked_options
name_pattern='[a-z]([-a-z0-9]*[a-z0-9])?'
option name "" xl "name of the slice" "$name_pattern"
option project "" my-project "Google Cloud project"
option zone "" us-west4-a "zone with quota for these TPUs"
option accelerator_type "" v5litepod-32 "kind and size of the slice"
option runtime_version "" v2-alpha-tpuv5-lite "TPU VM software version"
option device_count "" 32 "devices that JAX must see: chips, or TensorCores on v2 and v3" '[1-9][0-9]*'
option image "" us-docker.pkg.dev/my-project/ml/instructrec:tpu "image from the Dockerfile"
option service_account "" trainer@my-project.iam.gserviceaccount.com "account of the VMs; without it, the project's default"
option shared "" 10.0.0.2:/share "NFS export, mounted at /shared on all workers; the embedded runner needs one"
option queued false "" "ask through a queued resource, and wait in the queue"
option spot false "" "preemptible capacity"
option keep false "" "keep the slice when 'train' has ended well"
option max_tries 20 20 "how often 'train' starts the run" '[1-9][0-9]*'
option back_off 60 60 "seconds between the end of a try and the next; doubled each time, up to an hour" '[0-9]+'
option poll 30 30 "seconds between looks at the queue" '[0-9]+'

action=""
if (($#)) && [[ "$1" != -* ]]; then
  action="$1"
  shift
fi
parse "$@"

container=instructrec
at=("--project=${OPT[project]}" "--zone=${OPT[zone]}")

create() {
  local command=(gcloud compute tpus) account=()
  [[ -z "${OPT[service_account]}" ]] ||
    account=("--service-account=${OPT[service_account]}")
  if "${OPT[queued]}"; then
    command+=(queued-resources create "${OPT[name]}" "--node-id=${OPT[name]}"
      "--runtime-version=${OPT[runtime_version]}")
  else
    command+=(tpu-vm create "${OPT[name]}" "--version=${OPT[runtime_version]}")
  fi
  command+=("${at[@]}" "--accelerator-type=${OPT[accelerator_type]}" "${account[@]}")
  if "${OPT[spot]}"; then command+=(--spot); fi
  if ! "${OPT[dry_run]}" && [[ "$(request_state)" =~ ^(READY|ACTIVE|WAITING_FOR_RESOURCES|ACCEPTED|PROVISIONING|CREATING)$ ]]; then
    note "${OPT[name]} exists already"
  else
    run "${command[@]}" || return
  fi
  if "${OPT[queued]}"; then await_queue || return; fi
}

# State of what was asked for, empty where there is nothing of that name. A
# list and not `describe`, whose error does not tell nothing from no access.
request_state() {
  local kind=tpu-vm format="value(state)"
  if "${OPT[queued]}"; then
    kind=queued-resources
    format="value(state.state)"
  fi
  gcloud compute tpus "$kind" list "${at[@]}" \
    "--filter=name~(^|/)${OPT[name]}\$" "--format=$format"
}

node_state() {
  gcloud compute tpus tpu-vm list "${at[@]}" \
    "--filter=name~(^|/)${OPT[name]}\$" "--format=value(state)"
}

await_queue() {
  local state=""
  note "waiting until ${OPT[name]} is ACTIVE"
  if "${OPT[dry_run]}"; then return; fi
  while [[ "$state" != ACTIVE ]]; do
    state="$(request_state)" || return
    case "$state" in
      ACTIVE) ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING | "")
        note "the queued resource ${OPT[name]} is ${state:-gone}"
        return 1
        ;;
      *) sleep "${OPT[poll]}" ;;
    esac
  done
}

on_all_workers() {
  run gcloud compute tpus tpu-vm ssh "${OPT[name]}" "${at[@]}" \
    --worker=all --quiet "--command=$1"
}

install() {
  local registry="${OPT[image]%%/*}" commands
  commands="sudo gcloud auth configure-docker $(quoted "$registry") --quiet"
  commands+=" && sudo docker pull $(quoted "${OPT[image]}")"
  if [[ -n "${OPT[shared]}" ]]; then
    commands+=" && sudo apt-get install --yes nfs-common && sudo mkdir -p /shared"
    commands+=" && { mountpoint -q /shared || sudo mount -t nfs $(quoted "${OPT[shared]}") /shared; }"
  fi
  on_all_workers "$commands"
}

start() {
  local command volume=()
  [[ -z "${OPT[shared]}" ]] || volume=(--volume=/shared:/shared)
  host_command "${OPT[device_count]}"
  # TPUs are opened as root, on the host's network, by a privileged container.
  command="$(quoted sudo docker run --detach "--name=$container" --privileged \
    --net=host --user=root "${volume[@]}" "${OPT[image]}" "${HOST_COMMAND[@]}")"
  on_all_workers "sudo docker rm --force $container; $command"
}

# Shows what the containers write until they end; the first status that is not
# 0 is the status.
follow() {
  on_all_workers "sudo docker logs --follow $container; exit \"\$(sudo docker wait $container)\""
}

run_to_end() {
  local running=""
  if ! "${OPT[dry_run]}"; then
    running="$(on_all_workers "sudo docker ps --quiet --filter=name=^$container\$")" ||
      return
  fi
  if [[ -z "$running" ]]; then start || return; fi
  follow
}

delete() {
  if "${OPT[queued]}"; then
    run gcloud compute tpus queued-resources delete "${OPT[name]}" "${at[@]}" \
      --force --quiet
  else
    run gcloud compute tpus tpu-vm delete "${OPT[name]}" "${at[@]}" --quiet
  fi
}

train() {
  local try status state pause="${OPT[back_off]}"
  for ((try = 1; try <= OPT[max_tries]; try++)); do
    status=0
    { create && install && run_to_end; } || status=$?
    if "${OPT[dry_run]}"; then break; fi
    if ((status == 0)); then
      "${OPT[keep]}" || delete
      return
    fi
    note "try $try of ${OPT[max_tries]} ended with status $status"
    # A slice that is being taken away is READY for a moment yet.
    run sleep "$pause"
    pause=$((pause * 2 < 3600 ? pause * 2 : 3600))
    state="$(node_state)" || return
    # 75: a step hung; 143: saved and stopped by SIGTERM; 255: the connection
    # was lost.
    if [[ "$state" == READY ]] && ((status != 75 && status != 143 && status != 255)); then
      note "the slice is healthy, so the run itself failed. The slice is kept: launch/tpu_vm.sh run starts again, launch/tpu_vm.sh delete ends the cost"
      return "$status"
    fi
    note "the slice is ${state:-gone}"
    # What was preempted is never started again by itself.
    if [[ "$state" != READY && -n "$(request_state)" ]]; then
      delete || return
    fi
  done
  if "${OPT[dry_run]}"; then
    note "preempted, at most $((OPT[max_tries] - 1)) times, after ${OPT[back_off]} s, doubled each time:"
    delete
    note "and the same again; the run goes on from its newest checkpoint. At its end:"
    "${OPT[keep]}" || delete
    return
  fi
  fail "gave up after ${OPT[max_tries]} tries (--max_tries); the same command goes on from the newest checkpoint in ${OPT[model_dir]}"
}

where=(name project zone)
slice=(accelerator_type runtime_version)
what=(device_count image runner model_dir tfds_data_dir gin_file)
case "$action" in
  train) need "${where[@]}" "${slice[@]}" "${what[@]}" ;;
  create) need "${where[@]}" "${slice[@]}" ;;
  install) need "${where[@]}" image ;;
  run) need "${where[@]}" "${what[@]}" ;;
  delete) need "${where[@]}" ;;
  "") fail "no action; expected train, create, install, run or delete, e.g. launch/tpu_vm.sh train --help" ;;
  *) fail "unknown action '$action'; expected train, create, install, run or delete" ;;
esac
if [[ "$action" =~ ^(train|run)$ && "${OPT[runner]}" == embedded && -z "${OPT[shared]}" ]]; then
  fail "--runner=embedded needs a folder that all workers share: --shared=HOST:/EXPORT, and --model_dir and --tfds_data_dir below /shared"
fi
if [[ "$action" =~ ^(train|run)$ ]]; then check_gin; fi
if [[ "$action" == run ]]; then action=run_to_end; fi
"$action"
if "${OPT[dry_run]}" && [[ "$action" =~ ^(train|run_to_end)$ ]]; then
  note "each container runs:"
  "$(dirname "${BASH_SOURCE[0]}")/${HOST_COMMAND[0]#launch/}" "${HOST_COMMAND[@]:1}" --dry_run | sed 's/^/#   /'
fi
