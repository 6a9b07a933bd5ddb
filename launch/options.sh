# Options of the launch scripts, declared once: for parsing, for the messages
# about what is missing or unknown, and for --help. Sourced, not run.
#
# What starts with --gin_file= or --gin. belongs to the training command and is
# kept in order. --dry_run makes `run` print commands instead of running them.

if ((BASH_VERSINFO[0] < 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] < 4))); then
  echo "error: bash ${BASH_VERSION} is too old, expected 4.4 or newer" \
    "(macOS: brew install bash)" >&2
  exit 2
fi
set -euo pipefail

declare -A OPT=() # Values by name.
declare -a GIN=() # --gin_file= and --gin. arguments.
declare -a _NAMES=()
declare -A _DEFAULT=() _EXAMPLE=() _HELP=() _PATTERN=()
_ABOUT=""

# fail MESSAGE...: ends with a message; 2 is the status of a usage error.
fail() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

# about TEXT: the first lines of --help.
about() { _ABOUT="$1"; }

# option NAME DEFAULT EXAMPLE HELP [PATTERN]: declares --NAME=VALUE.
# A DEFAULT of "false" makes a flag; PATTERN is an extended regular expression.
option() {
  _NAMES+=("$1")
  OPT[$1]="$2"
  _DEFAULT[$1]="$2"
  _EXAMPLE[$1]="$3"
  _HELP[$1]="$4"
  _PATTERN[$1]="${5:-}"
}

# Options of what each host runs; the same in every script.
host_options() {
  option runner "" t5x "what trains: t5x (T5X's train.py) or embedded (instructrec train)" 't5x|embedded'
  option model_dir "" gs://my-bucket/xl "folder of the run; an unfinished run in it goes on" '[^"\\]+'
  option tfds_data_dir "" gs://my-bucket/instructions "what 'instructrec generate' wrote"
  option vocabulary "" work/instructions/vocabulary/sentencepiece.model "SentencePiece file for t5x; without it, T5's public one"
}

# parse ARGUMENT...: fills OPT and GIN.
parse() {
  local argument name
  option dry_run false "" "print what would be run, and run nothing"
  for argument in "$@"; do
    case "$argument" in
      --help | -h)
        _usage
        exit 0
        ;;
      --gin_file=?* | --gin.?*=*)
        GIN+=("$argument")
        continue
        ;;
      --gin_file | --gin_file= | --gin.*)
        fail "$argument has no value; expected --gin_file=FILE or" \
          "--gin.NAME=VALUE, e.g. --gin.TRAIN_STEPS=100"
        ;;
      --?*) ;;
      *) fail "unknown argument '$argument'; options are written --NAME=VALUE (--help lists them)" ;;
    esac
    name="${argument#--}"
    name="${name%%=*}"
    [[ -n "${_DEFAULT[$name]+set}" ]] ||
      fail "unknown option --$name; expected one of: ${_NAMES[*]/#/--} --gin_file --gin.NAME"
    if [[ "${_DEFAULT[$name]}" == false ]]; then
      [[ "$argument" == "--$name" ]] || fail "--$name takes no value"
      OPT[$name]=true
      continue
    fi
    [[ "$argument" == *=?* ]] ||
      fail "--$name has no value; ${_HELP[$name]}, e.g. --$name=${_EXAMPLE[$name]}"
    OPT[$name]="${argument#*=}"
    [[ -z "${_PATTERN[$name]}" || "${OPT[$name]}" =~ ^(${_PATTERN[$name]})$ ]] ||
      fail "--$name=${OPT[$name]}: expected ${_HELP[$name]}, e.g. --$name=${_EXAMPLE[$name]}"
  done
}

# need NAME...: fails where one of these has no value, naming all of them.
need() {
  local name missing=""
  for name in "$@"; do
    if [[ "$name" == gin_file ]]; then
      [[ " ${GIN[*]-}" == *" --gin_file="* ]] ||
        missing+=$'\n  --gin_file: what to train, e.g. --gin_file=gin/instructrec_xl.gin'
    elif [[ -z "${OPT[$name]}" ]]; then
      missing+=$'\n'"  --$name: ${_HELP[$name]}, e.g. --$name=${_EXAMPLE[$name]}"
    fi
  done
  [[ -z "$missing" ]] || fail "missing settings:$missing"
}

# What the scripts that spend money have beside these: see check_gin.
checked_options() {
  option unchecked false "" "do not look at the gin files here: they lie on the hosts alone"
}

# check_gin: fails for gin files and bindings that are misspelt, that nothing
# reads or that are for the other runner, before anything is paid for.
check_gin() {
  local preflight=(instructrec preflight "--runner=${OPT[runner]}" "${GIN[@]}")
  if "${OPT[unchecked]}"; then return; fi
  if "${OPT[dry_run]}"; then
    note "checked first, here: $(quoted "${preflight[@]}")"
    return
  fi
  command -v instructrec >/dev/null ||
    fail "no command 'instructrec' here, which checks the gin files before anything costs money: pip install instructrec, or pass --unchecked"
  run "${preflight[@]}" || fail "nothing was started"
}

# host_command DEVICES: what each host runs, in HOST_COMMAND.
host_command() {
  local name
  HOST_COMMAND=(launch/host.sh "--device_count=$1")
  for name in runner model_dir tfds_data_dir vocabulary; do
    [[ -z "${OPT[$name]}" ]] || HOST_COMMAND+=("--$name=${OPT[$name]}")
  done
  HOST_COMMAND+=("${GIN[@]}")
}

# quoted WORD...: prints the words as a shell reads them back.
quoted() {
  local word line=""
  for word in "$@"; do
    [[ "$word" =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word="${word@Q}"
    line+="${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# run COMMAND...: shows a command and, without --dry_run, runs it.
run() {
  if "${OPT[dry_run]}"; then
    quoted "$@"
  else
    printf '+ %s\n' "$(quoted "$@")" >&2
    "$@"
  fi
}

# note TEXT...: a remark between commands.
note() {
  if "${OPT[dry_run]}"; then
    printf '# %s\n' "$*"
  else
    printf '%s\n' "$*" >&2
  fi
}

_usage() {
  local name
  printf '%s\n\nOptions:\n' "$_ABOUT"
  for name in "${_NAMES[@]}"; do
    if [[ "${_DEFAULT[$name]}" == false ]]; then
      printf '  --%s\n' "$name"
    else
      printf '  --%s=%s\n' "$name" "${_EXAMPLE[$name]}"
    fi
    printf '      %s%s\n' "${_HELP[$name]}" \
      "$([[ -z "${_DEFAULT[$name]}" || "${_DEFAULT[$name]}" == false ]] || echo " (${_DEFAULT[$name]})")"
  done
  printf '  --gin_file=gin/instructrec_xl.gin, --gin.TRAIN_STEPS=1148000\n'
  printf '      what to train; each may be repeated\n'
}
