#!/usr/bin/env bash
# with_env.sh ENV_FILE COMMAND...: runs a command with the variables of a file, read as `docker run --env-file` reads
# it: NAME=value a line, nothing quoted, nothing expanded. A line that is wrong is numbered, not shown.
set -u
file=$1
shift
if [[ ! -r $file ]]; then
  echo "The env file $file cannot be read. Nothing was sent." >&2
  exit 2
fi
number=0
while IFS= read -r line || [[ -n $line ]]; do
  number=$((number + 1))
  line=${line%$'\r'}
  [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
  if [[ ! $line =~ ^[A-Za-z_][A-Za-z0-9_]*= ]]; then
    echo "The env file $file, line $number: expected NAME=value. Nothing was sent." >&2
    exit 2
  fi
  export "$line"
done <"$file"
exec "$@"
