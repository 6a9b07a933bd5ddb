#!/usr/bin/env bash
# TPU slices on Google Kubernetes Engine; see --help.
# shellcheck source=launch/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/../options.sh"

about "launch/gke/jobset.sh: trains on a TPU slice of a GKE cluster that has JobSet.

  launch/gke/jobset.sh --name=xl --image=us-docker.pkg.dev/my-project/ml/instructrec:tpu \\
    --accelerator=tpu-v5-lite-podslice --topology=4x8 --chips_per_host=4 \\
    --service_account=trainer --runner=t5x --gin_file=gin/instructrec_xl.gin \\
    --tfds_data_dir=gs://my-bucket/instructions --model_dir=gs://my-bucket/xl

Fills in launch/gke/jobset.yaml and applies it; --dry_run prints it."
host_options
checked_options
name_pattern='[a-z0-9]([-a-z0-9]*[a-z0-9])?'
option name "" xl "name of the JobSet: lower case, digits, hyphens" "$name_pattern"
option namespace default default "Kubernetes namespace" "$name_pattern"
option image "" us-docker.pkg.dev/my-project/ml/instructrec:tpu "image from the Dockerfile"
option accelerator "" tpu-v5-lite-podslice "label of the TPU nodes"
option topology "" 4x8 "shape of the slice, in chips" '[1-9][0-9]*x[1-9][0-9]*(x[1-9][0-9]*)?'
option chips_per_host 4 4 "chips of a node" '[1-9][0-9]*'
option service_account "" trainer "Kubernetes service account that may read and write the bucket" "$name_pattern"
option shared_claim "" instructrec-shared "claim of a volume that all hosts mount, at /shared; the embedded runner needs one" "$name_pattern"
option spot false "" "nodes of spot capacity"
option max_restarts 20 20 "how often the slice starts again" '[0-9]+'
parse "$@"
need runner model_dir tfds_data_dir gin_file name image accelerator topology

[[ "${OPT[runner]}" == t5x || -n "${OPT[shared_claim]}" ]] ||
  fail "--runner=embedded needs a folder that all hosts share: --shared_claim=NAME, and --model_dir and --tfds_data_dir below /shared"
chips=$((${OPT[topology]//x/ * }))
((chips % OPT[chips_per_host] == 0)) ||
  fail "--topology=${OPT[topology]} has $chips chips, expected a multiple of --chips_per_host=${OPT[chips_per_host]}"
host_command "$chips"

# json TEXT: a JSON string.
json() {
  local text="${1//\\/\\\\}"
  text="${text//\"/\\\"}"
  [[ "$text" != *[[:cntrl:]]* ]] || fail "a control character in '$1'"
  printf '"%s"' "$text"
}

command=""
for word in "${HOST_COMMAND[@]}"; do command+="${command:+, }$(json "$word")"; done
declare -A value=(
  [command]="[$command]" [hosts]="$((chips / OPT[chips_per_host]))"
  [max_restarts]="${OPT[max_restarts]}" [chips_per_host]="${OPT[chips_per_host]}"
)
for name in name namespace image accelerator topology service_account shared_claim; do
  value[$name]="$(json "${OPT[$name]}")"
done

# The template with values, without the lines whose option is not given.
render() {
  local line option name
  while IFS= read -r line; do
    if [[ "$line" == *"# if "* && "$line" != "#"* ]]; then
      option="${line##*# if }"
      [[ -n "${OPT[$option]}" && "${OPT[$option]}" != false ]] || continue
      line="${line% \# if *}"
    fi
    if [[ "$line" =~ ^([^#]*)\$\{([a-z_]+)\}$ ]]; then
      name="${BASH_REMATCH[2]}"
      line="${BASH_REMATCH[1]}${value[$name]}"
    fi
    [[ "$line" =~ ^\ *# ]] || printf '%s\n' "$line"
  done <"$(dirname "${BASH_SOURCE[0]}")/jobset.yaml"
}

check_gin
if "${OPT[dry_run]}"; then
  render
  note "applied with:"
  note "$(quoted kubectl apply --filename=-)"
  note "each host runs:"
  "$(dirname "${BASH_SOURCE[0]}")/../host.sh" "${HOST_COMMAND[@]:1}" --dry_run | sed 's/^/#   /'
else
  manifest="$(render)"
  run kubectl apply --filename=- <<<"$manifest"
fi
