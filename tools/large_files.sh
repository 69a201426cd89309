#!/usr/bin/env bash
# Refuses files over 1,000 kB, but the shipped weights of the demo: tools/large_files.sh FILE…  (a hook of pre-commit)
large=$(stat -c '%s %n' -- "$@" | grep -v '/weights/demo_.*\.safetensors$' | awk '$1 > 1000000')
while read -r size name; do
    if [ -n "$name" ]; then
        echo "$name: $((size / 1000)) kB, over 1,000: keep weights and data out of the repository, or make it smaller" >&2
    fi
done <<<"$large"
test -z "$large"
