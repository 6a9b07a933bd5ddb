#!/usr/bin/env bash
# Several processes on this machine; see --help.
# shellcheck source=launch/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/options.sh"

about "launch/local.sh: a run of several processes on this machine, over loopback,
with simulated CPU devices: a rehearsal of a pod.

  launch/local.sh --processes=2 --devices_per_process=2 --runner=embedded \\
    --gin_file=gin/quickstart.gin --gin.TRAIN_STEPS=20 \\
    --tfds_data_dir=work/instructions --model_dir=work/model"
host_options
option processes 2 2 "how many processes" '[1-9][0-9]*'
option devices_per_process 1 2 "simulated devices of each" '[1-9][0-9]*'
option port 9876 9876 "free port of loopback, where they meet" '[1-9][0-9]*'
parse "$@"
need runner model_dir tfds_data_dir gin_file

host_command "$((OPT[processes] * OPT[devices_per_process]))"
here="$(dirname "${BASH_SOURCE[0]}")"
HOST_COMMAND[0]="$here/host.sh"
flags="--xla_force_host_platform_device_count=${OPT[devices_per_process]}"
pids=()
for ((index = 0; index < OPT[processes]; index++)); do
  command=(env "XLA_FLAGS=${XLA_FLAGS:+$XLA_FLAGS }$flags" JAX_PLATFORMS=cpu
    "${HOST_COMMAND[@]}" "--coordinator_address=127.0.0.1:${OPT[port]}"
    "--process_count=${OPT[processes]}" "--process_index=$index")
  if "${OPT[dry_run]}"; then
    run "${command[@]}"
    "${command[@]}" --dry_run | sed 's/^/#   /'
  else
    # exec: the process that is waited for and told to stop is the run itself.
    run exec "${command[@]}" > >(sed -u "s/^/[$index] /") 2>&1 &
    pids+=("$!")
  fi
done

# The first that fails ends the others: they would wait for it.
stop() { kill -TERM "${pids[@]}" 2>/dev/null || true; }
trap stop INT TERM
status=0
while ((${#pids[@]})); do
  for index in "${!pids[@]}"; do
    if kill -0 "${pids[index]}" 2>/dev/null; then continue; fi
    code=0
    wait "${pids[index]}" || code=$?
    unset "pids[index]"
    if ((code && !status)); then
      note "process $index ended with status $code; the others are told to stop"
      status=$code
      stop
    fi
  done
  sleep 0.2
done
exit "$status"
