#!/usr/bin/env bash
# The first half hour on a GPU: what to run, in which order, what it must print, and where to look
# in the code when it does not. From the root of the project:
#
#     scripts/gpu/first_contact.sh [--dry] [FOLDER]
#
# FOLDER (results/benchmarks) takes the figures, and first_contact.txt with all that is printed.
# Failures do not stop it; the exit status of each command is in the summary at the end. A command
# that runs out of time is continued in the last step, so the first five fit into half an hour.
# --dry tries everything at the smallest sizes, even without a GPU. PYTHON names the interpreter.
set -u

dry=()
if [ "${1:-}" = --dry ]; then
  dry=(--dry)
  shift
fi
case "${1:-}" in
  -*) # what it does not take
    sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p;}' "$0" >&2
    exit 2
    ;;
esac
folder=${1:-results/benchmarks}
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$folder"

names=()
statuses=()

# part NAME [OPTION...]: run a part, and note how it ended.
part() {
  local status
  echo "\$ bench_gpu.py --part $*"
  "$python" scripts/bench_gpu.py --part "$@" --out "$folder" ${dry[@]+"${dry[@]}"}
  status=$?
  names+=("$*")
  statuses+=("$status")
  return "$status"
}

# whole NAME [OPTION...]: run a part until nothing is left; 3 says that the time was up. What fails
# is tried again each time, so without a limit a part might never end.
whole() {
  local _
  for _ in 1 2 3 4 5; do
    part "$@"
    [ "$?" -eq 3 ] || return
  done
}

main() {

cat <<'EOF'

== 1. Is it right? The stack theorem, and the tests that need a GPU.
Must print: "0 fail" at the end, and "holds" before every line, but for those that say "without
deterministic=true": they tell how far the same runs are apart where only rounding is promised.
If not, no time below counts. Look by what fails:
  agrees with looped, fp64   a rule of ours for vmap: ablate/train/vmap_rules.py, fused.py
  ... in fp32 alone          something multiplies in TF32: settle_arithmetic in
                             ablate/environment.py
  ... in bf16 alone          how far bf16 may be off: _AGREE in scripts/gpu/check.py
  integers of the streams    a shift or a product of integers: ablate/rng.py
  the same request twice     something adds atomically: the backward passes of pooling and gathers
  every slot, NaN            the same, or something sums over all runs: ablate/axis.py
  resumed                    a state that is not saved: Training.state, Update.state
  one graph                  the warning names what waits: ablate/train/cuda_graph.py
  compiled kernels           Fused.compile in ablate/train/fused.py; stack.compile is off by default
EOF
part check

cat <<'EOF'

== 2. Where does a step's time go?
Must print: for 64 runs a ratio of step to floor below 1.5, and kernels that add up to the step.
If the kernels add up to less: gaps. Without a graph it is the launches (ablate/train/cuda_graph.py).
If the ratio is above: the first kernels of the table tell.
  convolutions        step 5 names a faster way; it belongs in ablate/train/vmap_rules.py
  copies, permutes    two layers disagree about the layout: ablate/train/vmap_rules.py
  _to_copy, casts     something is kept in the weights' type under bf16: the same file
  many small ones     the optimizer or the masks: ablate/optim/, ablate/nets/dropout.py
If the bytes are many floors of the least bytes: layers are to be merged, as stack.compile=true does.
If "no kernel is seen here": the profiler may not read the card (permissions); the bytes still hold.
EOF
part profile

cat <<'EOF'

== 3. The sweep of 64 runs, beside what people use.
Must print: the best stack, in bf16, at least 40 times as fast as the DataLoader script, 12 times as
fast as the loop on the device, and twice as fast as the compiled one; and "to the end" a test accuracy above 0.98.
If the accuracy is lower, go back to step 1. If a ratio is lower:
  all stacks alike           back to step 2, at the best width
  wide ones are slower       _WIDTH in ablate/plan/stacks.py
  fp32 beats bf16            leave precision=auto as it is; else let it be bf16 on a GPU:
                             ablate/plan/resolve.py
  compiled beats written     by much: stack.compile=true by default on a GPU, in conf/
  first steps take long      what is built once a stack: ablate/train/building.py
If JAX is faster than ours: compare its kernels with those of step 2.
EOF
part sweep

cat <<'EOF'

== 4. Which width, and how much memory?
Must print: a time a run's step that falls up to 16 runs or more, and a share of the planned memory
at or below 1.00.
If it is lowest at another width than 32: _WIDTH in ablate/plan/stacks.py.
If the share is above 1, stacks that are planned will not fit: WORKSPACES and
IN_PIECES in ablate/train/footprint.py. If it is far below 0.5, they are planned too narrow: the same place.
EOF
part step

cat <<'EOF'

== 5. Which way to convolve?
Must print: "grouped" as best for every shape and type, or within a tenth of the best.
If another one wins: it becomes the rule for convolutions in ablate/train/vmap_rules.py, for the
shapes where it wins; scripts/gpu/convolution_ways.py has it written out.
If an error is beyond 1e-4 in fp32: TF32 is on, or Triton's kernel is wrong on this card.
EOF
part convolutions

cat <<'EOF'

== 6. All of it, to the end: what was cut off, CIFAR-10 to 94 %, and large batches.
Must print: for CIFAR-10 "is met", and a time a run no longer than airbench94's.
If the accuracy is lower: the recipe in scripts/gpu/cifar94.py, knob by knob against airbench94's.
If the time is longer: step 2, with that recipe.
EOF
for name in check profile sweep step convolutions cifar94; do
  whole "$name"
done
whole sweep --batch 1024

echo
echo "== Summary: exit status (0 all is well, 1 something failed, 3 cut off, to go on), part"
worst=0
for i in "${!names[@]}"; do
  printf '%4d  %s\n' "${statuses[$i]}" "${names[$i]}"
  if [ "${statuses[$i]}" -ne 0 ] && [ "${statuses[$i]}" -ne 3 ]; then worst=1; fi
done
return "$worst"
}

main 2>&1 | tee "$folder/first_contact.txt"
exit "${PIPESTATUS[0]}"
