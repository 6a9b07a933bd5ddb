#!/usr/bin/env bash
# What each process of a run executes; the other scripts start it.
# shellcheck source=launch/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/options.sh"

about "launch/host.sh: one process of a run. Counts the devices of all processes
together, then trains. The other scripts start it, on every host."
host_options
option device_count "" 32 "devices that all processes have together" '[1-9][0-9]*'
option coordinator_address "" 10.0.0.1:9876 "host:port of process 0, where nothing detects it"
option process_count "" 2 "how many processes there are" '[1-9][0-9]*'
option process_index "" 0 "which one this is, from 0" '[0-9]+'
parse "$@"
need runner model_dir tfds_data_dir device_count gin_file

joined=(--multiprocess_gpu)
for name in coordinator_address process_count process_index; do
  [[ -z "${OPT[$name]}" ]] || joined+=("--$name=${OPT[$name]}")
done

case "${OPT[runner]}" in
  embedded)
    [[ -z "${OPT[vocabulary]}" ]] ||
      fail "--vocabulary is for --runner=t5x; the embedded runner takes the one in --tfds_data_dir"
    train=(instructrec train "${GIN[@]}" "--model_dir=${OPT[model_dir]}"
      "--tfds_data_dir=${OPT[tfds_data_dir]}"
      "--device_count=${OPT[device_count]}" "${joined[@]}")
    ;;
  t5x)
    # T5X's checkpoints want a whole path.
    model_dir="${OPT[model_dir]}"
    [[ "$model_dir" == /* || "$model_dir" == *://* ]] || model_dir="$PWD/$model_dir"
    train=(python -m instructrec.t5x train "${GIN[@]}"
      "--gin.MODEL_DIR=\"$model_dir\""
      "--tfds_data_dir=${OPT[tfds_data_dir]}" "${joined[@]}")
    [[ -z "${OPT[vocabulary]}" ]] ||
      run export "INSTRUCTREC_VOCABULARY=${OPT[vocabulary]}"
    ;;
esac

run instructrec devices "--device_count=${OPT[device_count]}" "${joined[@]}"
# In place of this shell, so that signals reach the run.
run exec "${train[@]}"
